import reframe as rfm
import reframe.utility.sanity as sn


@rfm.simple_test
class Check(rfm.RunOnlyRegressionTest):
    valid_systems = ["*"]
    valid_prog_environs = ["*"]
    container_platform = "PLATFORM"

    @run_before("run")
    def choose(self):
        self.container_platform.image = "IMAGE"
        self.container_platform.command = "python3 -c 'print(6 * 7)'"

    @sanity_function
    def validate(self):
        return sn.assert_found(r"^42$", self.stdout)
