//! What an image says of itself, in `.singularity.d`.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use serde_json::{Map, Value, json};

use crate::{Entry, RootFs};

/// What an image says of itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Attributes {
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Its environment scripts, by their paths in it.
    pub environment: BTreeMap<String, String>,
    /// What `run` runs.
    pub runscript: Option<String>,
    /// What an instance runs.
    pub startscript: Option<String>,
    /// What `test` runs.
    pub test: Option<String>,
    /// What `run-help` prints.
    pub helpfile: Option<String>,
    /// What it was built of.
    pub deffile: Option<String>,
    /// Its applications (SCIF), by name.
    pub apps: BTreeMap<String, App>,
}

/// What an application says of itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct App {
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Its environment script, by its path in the image.
    pub environment: BTreeMap<String, String>,
    /// What `run --app` runs.
    pub runscript: Option<String>,
    /// What `test --app` runs.
    pub test: Option<String>,
    /// Its help.
    pub helpfile: Option<String>,
}

/// The most that is read of a file.
const LONGEST: usize = 1 << 20;

impl Attributes {
    /// Reads them from an image's files.
    ///
    /// # Errors
    ///
    /// Fails when the image is damaged.
    pub fn read(root: &RootFs) -> io::Result<Self> {
        let files = Files(root);
        let own = |name: &str| files.text(&format!("/.singularity.d/{name}"));
        let mut apps = BTreeMap::new();
        for name in files.list("/scif/apps")? {
            let at = |file: &str| files.text(&format!("/scif/apps/{name}/scif/{file}"));
            let app = App {
                labels: labels(at("labels.json")?),
                environment: files.scripts(&format!("/scif/apps/{name}/scif/env"))?,
                runscript: at("runscript")?,
                test: at("test")?,
                helpfile: at("runscript.help")?,
            };
            apps.insert(name, app);
        }
        Ok(Self {
            labels: labels(own("labels.json")?),
            environment: files.scripts("/.singularity.d/env")?,
            runscript: own("runscript")?,
            startscript: own("startscript")?,
            test: own("test")?,
            helpfile: own("runscript.help")?,
            deffile: own("Singularity")?,
            apps,
        })
    }

    /// Returns them as `inspect --json` prints them.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let mut attributes = Map::new();
        let mut put = |name: &str, value: Option<Value>| {
            if let Some(value) = value {
                attributes.insert(name.to_owned(), value);
            }
        };
        let apps: Map<String, Value> = self
            .apps
            .iter()
            .map(|(name, app)| (name.clone(), app.to_json()))
            .collect();
        put("apps", (!apps.is_empty()).then(|| Value::Object(apps)));
        put("environment", some(&self.environment));
        put("labels", some(&self.labels));
        put("runscript", self.runscript.as_ref().map(|text| json!(text)));
        put(
            "startscript",
            self.startscript.as_ref().map(|text| json!(text)),
        );
        put("test", self.test.as_ref().map(|text| json!(text)));
        put("helpfile", self.helpfile.as_ref().map(|text| json!(text)));
        put("deffile", self.deffile.as_ref().map(|text| json!(text)));
        json!({"data": {"attributes": attributes}, "type": "container"})
    }
}

impl App {
    fn to_json(&self) -> Value {
        let mut app = Map::new();
        let texts = [
            ("runscript", &self.runscript),
            ("test", &self.test),
            ("helpfile", &self.helpfile),
        ];
        for (name, text) in texts {
            if let Some(text) = text {
                app.insert(name.to_owned(), json!(text));
            }
        }
        for (name, map) in [("environment", &self.environment), ("labels", &self.labels)] {
            if let Some(map) = some(map) {
                app.insert(name.to_owned(), map);
            }
        }
        Value::Object(app)
    }
}

fn some(map: &BTreeMap<String, String>) -> Option<Value> {
    (!map.is_empty()).then(|| json!(map))
}

/// What is no flat map of strings has no labels in it that could be shown.
fn labels(text: Option<String>) -> BTreeMap<String, String> {
    let document: Option<Map<String, Value>> =
        text.and_then(|text| serde_json::from_str(&text).ok());
    let pairs = document.into_iter().flatten();
    pairs
        .filter_map(|(name, value)| Some((name, value.as_str()?.to_owned())))
        .collect()
}

struct Files<'a>(&'a RootFs);

impl Files<'_> {
    fn text(&self, path: &str) -> io::Result<Option<String>> {
        let bytes = self.0.read(Path::new(path), LONGEST)?;
        Ok(bytes.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()))
    }

    fn list(&self, path: &str) -> io::Result<Vec<String>> {
        let is_directory = matches!(self.0.entry(Path::new(path))?, Some(Entry::Directory));
        if !is_directory {
            return Ok(Vec::new());
        }
        let names = self.0.list(Path::new(path))?.into_iter();
        Ok(names.filter_map(|name| name.into_string().ok()).collect())
    }

    fn scripts(&self, directory: &str) -> io::Result<BTreeMap<String, String>> {
        let mut scripts = BTreeMap::new();
        for name in self.list(directory)? {
            let path = format!("{directory}/{name}");
            if name.ends_with(".sh")
                && let Some(text) = self.text(&path)?
            {
                scripts.insert(path, text);
            }
        }
        Ok(scripts)
    }
}
