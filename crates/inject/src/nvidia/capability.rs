//! The parts of the driver that a container asks for with `NVIDIA_DRIVER_CAPABILITIES`.

/// The parts of NVIDIA's driver that a container asks for.
///
/// The names of the capabilities, and the files of each, are those of NVIDIA's container toolkit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Capabilities {
    compute: bool,
    utility: bool,
    video: bool,
    graphics: bool,
    compat32: bool,
}

/// The capability that a library, program or file belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Capability {
    Compute,
    Utility,
    Video,
    Graphics,
}

/// Capabilities by prefixes of names. Any other name is for graphics.
const OF: &[(&str, Capability)] = &[
    ("libcuda", Capability::Compute),
    ("libOpenCL.so", Capability::Compute),
    ("libnvidia-allocator.so", Capability::Compute),
    ("libnvidia-compiler.so", Capability::Compute),
    ("libnvidia-fatbinaryloader.so", Capability::Compute),
    ("libnvidia-gpucomp.so", Capability::Compute),
    ("libnvidia-nvvm", Capability::Compute),
    ("libnvidia-opencl.so", Capability::Compute),
    ("libnvidia-pkcs11", Capability::Compute),
    ("libnvidia-ptxjitcompiler.so", Capability::Compute),
    ("libnvidia-sandboxutils.so", Capability::Utility),
    ("nvidia-cuda-mps", Capability::Compute),
    ("nvidia.icd", Capability::Compute),
    ("libnvidia-cfg.so", Capability::Utility),
    ("libnvidia-ml.so", Capability::Utility),
    ("nvidia-", Capability::Utility),
    ("socket", Capability::Utility),
    ("libnvcuvid.so", Capability::Video),
    ("libnvidia-encode.so", Capability::Video),
    ("libnvidia-opticalflow.so", Capability::Video),
    ("libvdpau_nvidia.so", Capability::Video),
];

impl Capabilities {
    /// All capabilities.
    pub const ALL: Self = Self {
        compute: true,
        utility: true,
        video: true,
        graphics: true,
        compat32: true,
    };

    /// Reads the variable's value. Without a value, a container gets `compute` and `utility`. Words
    /// of other versions are ignored.
    #[must_use]
    pub fn parse(text: Option<&str>) -> Self {
        let text = text.filter(|text| !text.trim().is_empty());
        let words: Vec<&str> = text
            .unwrap_or("compute,utility")
            .split(',')
            .map(str::trim)
            .collect();
        let has = |names: &[&str]| {
            words
                .iter()
                .any(|word| *word == "all" || names.contains(word))
        };
        Self {
            compute: has(&["compute"]),
            utility: has(&["utility"]),
            video: has(&["video"]),
            graphics: has(&["graphics", "display", "ngx"]),
            compat32: has(&["compat32"]),
        }
    }

    /// Whether 32-bit programs are to find their libraries too.
    pub(crate) fn compat32(self) -> bool {
        self.compat32
    }

    /// Whether a file of this name is wanted.
    pub(super) fn want(self, name: &str) -> bool {
        let of = OF.iter().find(|(prefix, _)| name.starts_with(prefix));
        match of.map_or(Capability::Graphics, |(_, capability)| *capability) {
            Capability::Compute => self.compute,
            Capability::Utility => self.utility,
            Capability::Video => self.video,
            Capability::Graphics => self.graphics,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_has_its_own() {
        let names = [
            "libcuda.so.1",
            "libnvidia-ml.so.1",
            "nvidia-smi",
            "libnvcuvid.so.1",
            "libGL.so.1",
        ];
        let wanted = |text: Option<&str>| -> Vec<&str> {
            let capabilities = Capabilities::parse(text);
            names
                .into_iter()
                .filter(|name| capabilities.want(name))
                .collect()
        };
        assert_eq!(wanted(None), names[..3]);
        assert_eq!(wanted(Some("")), names[..3]);
        assert_eq!(wanted(Some("all")), names);
        assert_eq!(wanted(Some("compute")), ["libcuda.so.1"]);
        assert_eq!(wanted(Some("video, graphics")), names[3..]);
        assert_eq!(wanted(Some("nosuch")), [""; 0]);
    }
}
