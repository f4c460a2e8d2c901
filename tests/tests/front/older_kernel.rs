//! Images on the kernel of Debian 12, Linux 6.1, which is older than this machine's.

use tests::{fixture, home, in_guest, program, tester};

const LINES: &str = r#"
user() { setpriv --reuid UID --regid UID --clear-groups env -i HOME=/tmp/home APPTAINER_CONFIGDIR=/tmp/home/config PATH="$PATH" "$@"; }
setpriv --reuid UID --regid UID --clear-groups mkdir /tmp/home
cd /tmp/home
uname -r
for image in bb bb.sif; do
  for flag in --bind=/run -c -C; do
    user FRONT exec $flag FIXTURES/$image sh -c 'echo "$1 $2 $(head -1 /etc/passwd | cut -d: -f1)"' sh $image $flag
  done
  user FRONT -q instance start FIXTURES/$image one && user FRONT exec instance://one echo $image instance
  user FRONT -q instance stop one
  for rank in 0 1; do
    user SLURM_JOB_ID=1 SLURM_STEP_ID=0 SLURM_NTASKS=2 SLURM_NODEID=0 SLURM_STEP_TASKS_PER_NODE=2 \
      SLURM_PROCID=$rank SLURM_LOCALID=$rank FRONT -q exec FIXTURES/$image echo $image rank $rank &
  done
  wait
done
"#;

#[test]
fn images_start_on_linux_6_1() {
    let home = home();
    let script = LINES
        .replace("UID", &tester().to_string())
        .replace("FRONT", &program("front").display().to_string())
        .replace("FIXTURES", &fixture("").display().to_string());
    let output = in_guest(home.path(), &script).stdout;
    println!("{output}");
    assert!(output.starts_with("6.1."), "{output}");
    for image in ["bb", "bb.sif"] {
        for what in [
            "--bind=/run root",
            "-c root",
            "-C root",
            "instance",
            "rank 0",
            "rank 1",
        ] {
            let line = format!("{image} {what}");
            assert!(
                output.lines().any(|other| other == line),
                "{line}: {output}"
            );
        }
    }
}
