//! Settings that exist only as variables.

use super::Variable;

/// The path of the site's configuration.
pub const CONFIG: Variable = Variable::setting(
    &["CONFIG_FILE", "CONFIG"],
    "the site's configuration, instead of /etc/slipway/front.toml",
);
/// The largest size of the cache.
pub const CACHE_LIMIT: Variable = Variable::setting(
    &["CACHE_LIMIT"],
    "the maximum size of the image cache, such as 20G",
);
/// The directory of the cache of images.
pub const CACHEDIR: Variable = Variable::setting(
    &["CACHEDIR"],
    "the directory of the image cache, instead of ~/.cache",
);
/// The directory of Apptainer's files for the user.
pub const CONFIGDIR: Variable = Variable::setting(
    &["CONFIGDIR"],
    "the directory of the user's own configuration, instead of ~/.apptainer",
);
/// The directory of keys.
pub const KEYSDIR: Variable = Variable::setting(
    &["KEYSDIR"],
    "the directory of keys, instead of ~/.apptainer/keys",
);
/// The directory for temporary files.
pub const TMPDIR: Variable = Variable::setting(
    &["TMPDIR"],
    "the directory for temporary files, instead of TMPDIR or /tmp",
);
/// Whether an image's files are made readable.
pub const FIXPERMS: Variable = Variable::setting(
    &["FIXPERMS"],
    "true: make every file of a built image readable by its owner",
);
/// The user at registries.
pub const DOCKER_USERNAME: Variable =
    Variable::setting(&["DOCKER_USERNAME"], "the user name for registries");
/// The password at registries.
pub const DOCKER_PASSWORD: Variable =
    Variable::setting(&["DOCKER_PASSWORD"], "the password for registries");

/// All settings.
pub(super) const VARIABLES: &[Variable] = &[
    CONFIG,
    CACHE_LIMIT,
    CACHEDIR,
    CONFIGDIR,
    KEYSDIR,
    TMPDIR,
    FIXPERMS,
    DOCKER_USERNAME,
    DOCKER_PASSWORD,
];
