//! Settings that only variables have.

use super::Variable;

/// Where the site's configuration is.
pub const CONFIG: Variable = Variable::setting(
    &["CONFIG_FILE", "CONFIG"],
    "the site's configuration, in place of /etc/slipway/front.toml",
);
/// How large the cache may become.
pub const CACHE_LIMIT: Variable = Variable::setting(
    &["CACHE_LIMIT"],
    "how many bytes the cache of images may take: 20G",
);
/// Where images are cached.
pub const CACHEDIR: Variable = Variable::setting(
    &["CACHEDIR"],
    "the directory of the cache of images, in place of ~/.cache",
);
/// Where Apptainer keeps what is the user's.
pub const CONFIGDIR: Variable = Variable::setting(
    &["CONFIGDIR"],
    "the directory of the user's own configuration, in place of ~/.apptainer",
);
/// Where keys are.
pub const KEYSDIR: Variable = Variable::setting(
    &["KEYSDIR"],
    "the directory of keys, in place of ~/.apptainer/keys",
);
/// Where there is room for what is needed for a while.
pub const TMPDIR: Variable = Variable::setting(
    &["TMPDIR"],
    "the directory for what a build needs meanwhile, in place of TMPDIR and /tmp",
);
/// Whether an image's directories are made readable.
pub const FIXPERMS: Variable = Variable::setting(
    &["FIXPERMS"],
    "true: every file of an image that is made can be read by its owner",
);
/// A registry's user.
pub const DOCKER_USERNAME: Variable =
    Variable::setting(&["DOCKER_USERNAME"], "the user at registries");
/// A registry user's password.
pub const DOCKER_PASSWORD: Variable =
    Variable::setting(&["DOCKER_PASSWORD"], "the password of that user");

/// All of them.
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
