//! A user's credentials for registries.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use docker_credential::{CredentialRetrievalError, DockerCredential, get_credential_from_reader};
use oci::LONGEST_DOCUMENT;
use serde_json::{Map, Value, json};

use crate::Error;

/// A user's name and password.
#[derive(Clone, PartialEq, Eq)]
pub struct Login {
    /// The name.
    pub user: String,
    /// The password or access token.
    pub password: String,
}

impl std::fmt::Debug for Login {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Login")
            .field("user", &self.user)
            .finish_non_exhaustive()
    }
}

/// The places where credentials are looked up.
#[derive(Debug, Clone, Default)]
pub struct Credentials {
    /// Credentials that the user gives. They apply to every registry.
    pub given: Option<Login>,
    /// Files in the format of docker's `config.json`. The first that has an entry for the registry
    /// wins. A file may name credential helpers, `docker-credential-…`, which are run.
    pub files: Vec<PathBuf>,
}

/// The key of docker's own registry in such a file.
const DOCKER: &str = "https://index.docker.io/v1/";

/// The names that a registry may have in a file.
fn names(registry: &str) -> Vec<&str> {
    match registry {
        "docker.io" | "index.docker.io" | "registry-1.docker.io" => {
            vec![DOCKER, "docker.io", "index.docker.io"]
        }
        other => vec![other],
    }
}

impl Credentials {
    /// Returns a user's credentials for a registry.
    pub(crate) fn find(&self, registry: &str) -> Result<Option<Login>, Error> {
        match &self.given {
            Some(login) => Ok(Some(login.clone())),
            None => self.find_in_files(registry),
        }
    }

    /// Looks for credentials in the files only. The credentials that the user gave are meant for
    /// the registry, not for its mirrors.
    pub(crate) fn find_in_files(&self, registry: &str) -> Result<Option<Login>, Error> {
        for path in &self.files {
            for name in names(registry) {
                match look(path, name) {
                    Ok(Some(DockerCredential::UsernamePassword(user, password))) => {
                        return Ok(Some(Login { user, password }));
                    }
                    Ok(Some(DockerCredential::IdentityToken(_))) => {
                        return Err(Error::Credentials {
                            host: registry.to_owned(),
                            reason: format!(
                                "{} has an identity token, which is not supported; use a password or an access token",
                                path.display()
                            ),
                        });
                    }
                    Ok(None) => {}
                    Err(reason) => {
                        return Err(Error::Credentials {
                            host: registry.to_owned(),
                            reason: format!("{}: {reason}", path.display()),
                        });
                    }
                }
            }
        }
        Ok(None)
    }
}

fn look(path: &Path, name: &str) -> Result<Option<DockerCredential>, String> {
    let text = match sys::read_file(path, LONGEST_DOCUMENT) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(text::message(&error)),
    };
    match get_credential_from_reader(text.as_slice(), name) {
        Ok(credential) => Ok(Some(credential)),
        Err(CredentialRetrievalError::NoCredentialConfigured) => Ok(None),
        // A helper fails in this way when it has no credentials for the registry.
        Err(CredentialRetrievalError::HelperFailure { stdout, .. })
            if stdout.contains("not found") =>
        {
            Ok(None)
        }
        Err(CredentialRetrievalError::HelperFailure {
            helper,
            stdout,
            stderr,
        }) => Err(format!(
            "{helper} failed: {}",
            [stdout, stderr].concat().lines().next().unwrap_or_default()
        )),
        Err(CredentialRetrievalError::HelperCommunicationError) => {
            Err("it names a credential helper that cannot be run".to_owned())
        }
        Err(error) => Err(error.to_string()),
    }
}

impl Login {
    /// Writes this login to a credentials file that only its owner can read. The file is replaced
    /// as a whole.
    ///
    /// # Errors
    ///
    /// Fails when the file has another format or cannot be written.
    pub fn save(&self, path: &Path, registry: &str) -> io::Result<()> {
        let plain = format!("{}:{}", self.user, self.password);
        change(path, |auths| {
            auths.insert(key(registry).to_owned(), json!({"auth": base64(&plain)}));
        })
    }

    /// Removes a registry from a credentials file. Returns `false` when the file did not have it.
    ///
    /// # Errors
    ///
    /// As for [`Login::save`].
    pub fn forget(path: &Path, registry: &str) -> io::Result<bool> {
        let mut known = false;
        change(path, |auths| {
            for name in names(registry) {
                known |= auths.remove(name).is_some();
            }
        })?;
        Ok(known)
    }

    /// Returns the registries that a credentials file has entries for.
    ///
    /// # Errors
    ///
    /// Fails when the file cannot be read.
    pub fn known(path: &Path) -> io::Result<Vec<String>> {
        let document = read(path)?;
        let auths = document.get("auths").and_then(Value::as_object);
        Ok(auths.map_or_else(Vec::new, |auths| auths.keys().cloned().collect()))
    }
}

fn key(registry: &str) -> &str {
    names(registry).first().copied().unwrap_or(registry)
}

fn base64(text: &str) -> String {
    use base64::Engine;
    base64::engine::general_purpose::STANDARD.encode(text)
}

fn read(path: &Path) -> io::Result<Value> {
    let text = match sys::read_file(path, LONGEST_DOCUMENT) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(json!({})),
        Err(error) => return Err(error),
    };
    let document: Value = serde_json::from_slice(&text)?;
    match document.is_object() {
        true => Ok(document),
        false => Err(io::Error::other("expected a JSON object")),
    }
}

fn change(path: &Path, change: impl FnOnce(&mut Map<String, Value>)) -> io::Result<()> {
    let mut document = read(path)?;
    if !document["auths"].is_object() {
        document["auths"] = json!({});
    }
    if let Some(auths) = document["auths"].as_object_mut() {
        change(auths);
    }
    let directory = path.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(directory)?;
    // A temporary file is readable only by its owner from the start.
    let file = tempfile::NamedTempFile::new_in(directory)?;
    serde_json::to_writer_pretty(&file, &document)?;
    file.persist(path).map_err(|error| error.error)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_file_that_knows_a_registry_counts() {
        let directory = tempfile::tempdir().unwrap();
        let file = |name: &str| directory.path().join(name);
        let login = |user: &str| Login {
            user: user.to_owned(),
            password: "p:w".to_owned(),
        };
        login("a").save(&file("1"), "localhost:5000").unwrap();
        login("b").save(&file("2"), "localhost:5000").unwrap();
        login("d").save(&file("2"), "docker.io").unwrap();
        let credentials = Credentials {
            given: None,
            files: vec![file("0"), file("1"), file("2")],
        };
        assert_eq!(
            credentials.find("localhost:5000").unwrap(),
            Some(login("a"))
        );
        assert_eq!(credentials.find("docker.io").unwrap(), Some(login("d")));
        assert_eq!(credentials.find("quay.io").unwrap(), None);
        assert_eq!(
            Login::known(&file("2")).unwrap(),
            [DOCKER, "localhost:5000"]
        );
        assert!(Login::forget(&file("2"), "docker.io").unwrap());
        assert!(!Login::forget(&file("2"), "docker.io").unwrap());
        use std::os::unix::fs::PermissionsExt;
        let mode = fs::metadata(file("2")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn a_broken_file_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("config.json");
        fs::write(&path, "{").unwrap();
        let credentials = Credentials {
            given: None,
            files: vec![path.clone()],
        };
        let error = credentials.find("quay.io").unwrap_err().to_string();
        assert!(error.contains(&path.display().to_string()), "{error}");
    }
}
