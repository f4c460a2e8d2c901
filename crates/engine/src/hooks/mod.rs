//! The hooks of a specification: checking them, and running them.

mod directories;
mod run;
mod wrapper;

pub(crate) use directories::add;
pub(crate) use run::{Hooks, Start, run, run_at};
pub use wrapper::{HOOK, become_hook};

use crate::Document;

/// The points at which hooks run.
const POINTS: [&str; 6] = [
    "prestart",
    "createRuntime",
    "createContainer",
    "startContainer",
    "poststart",
    "poststop",
];

/// The hooks that run in the runtime's namespaces while a container is made.
pub(crate) const EARLY: [&str; 2] = ["prestart", "createRuntime"];

/// Refuses hooks that the [specification] does not allow: an entry that is not an object of the
/// right types, a path that is not absolute, and a timeout that is not positive.
///
/// [specification]: https://github.com/opencontainers/runtime-spec/blob/main/config.md#posix-platform-hooks
pub(crate) fn check(document: &Document) -> Result<(), String> {
    for point in POINTS {
        let hooks = document.hooks(point);
        for hook in hooks.map_err(|error| format!("hooks.{point}: {error}"))? {
            let path = hook.path().display();
            if !hook.path().is_absolute() {
                return Err(format!("hooks.{point}: the path {path} is not absolute"));
            }
            if let Some(timeout @ ..=0) = hook.timeout() {
                return Err(format!(
                    "hooks.{point}: {path}: the timeout of {timeout} seconds is not positive"
                ));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn hooks_that_cannot_run_are_refused() {
        let cases = [
            (json!([{"path": "/bin/true", "timeout": 3}]), ""),
            (json!([]), ""),
            (json!(["x"]), "hooks.poststart"),
            (json!([[1]]), "hooks.poststart"),
            (json!({"path": "/x"}), "hooks.poststart"),
            (json!([{"path": "true"}]), "is not absolute"),
            (json!([{"path": "/x", "timeout": 0}]), "not positive"),
            (json!([{"path": "/x", "timeout": -1}]), "not positive"),
        ];
        for (hooks, reason) in cases {
            let checked = check(&json!({"hooks": {"poststart": hooks}}).into());
            match reason {
                "" => checked.unwrap(),
                reason => assert!(checked.unwrap_err().contains(reason), "{hooks}"),
            }
        }
    }
}
