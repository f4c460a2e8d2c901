//! `front gpu`: what this host has, and what an image would get of it.

use std::io::Write as _;
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, Result};
use image::Image;
use inject::nvidia::{self, Nvidia};
use inject::{Class, Fate, Host, Verdict};
use serde_json::{Value, json};

use crate::caller::Caller;
use crate::cli::{Gpu, GpuCommand, GpuExplain};
use crate::messages::Messages;
use crate::request::Source;
use crate::table::table;
use crate::{fetch, host};

pub fn run(args: &Gpu, caller: &Caller, messages: &Messages) -> Result<ExitCode> {
    let host = host::lender(caller)?;
    let text = match &args.command {
        Some(GpuCommand::Explain(explain)) => {
            let explained = Explained::new(explain, &host, caller, messages)?;
            match explain.json || args.json {
                true => pretty(&explained.json())?,
                false => explained.text(),
            }
        }
        None if args.json => pretty(&host_json(&host))?,
        None => host_text(&host),
    };
    let written = std::io::stdout().lock().write_all(text.as_bytes());
    written.context("print")?;
    Ok(ExitCode::SUCCESS)
}

fn pretty(document: &Value) -> Result<String> {
    let text = serde_json::to_string_pretty(document).context("write JSON")?;
    Ok(format!("{text}\n"))
}

fn driver(host: &Host) -> Option<String> {
    nvidia::driver(host, host::own_machine()?)
}

fn host_json(host: &Host) -> Value {
    let driver = driver(host);
    json!({
        "nvidia": {
            "driver": driver,
            "cuda": driver.as_deref().and_then(nvidia::cuda).map(|(major, minor)| format!("{major}.{minor}")),
            "gpus": nvidia::gpus(host),
        }
    })
}

fn host_text(host: &Host) -> String {
    let Some(driver) = driver(host) else {
        return "no NVIDIA driver\n".to_owned();
    };
    let cuda = nvidia::cuda(&driver);
    let cuda = cuda.map(|(major, minor)| format!(", CUDA {major}.{minor}"));
    let gpus = nvidia::gpus(host);
    let rows = gpus.iter().flat_map(|gpu| {
        let parts = gpu.mig.iter().enumerate().map(|(index, part)| {
            let (above, below) = (part.gpu_instance, part.compute_instance);
            [
                format!("{}:{index}", gpu.index),
                format!("MIG {above}/{below}"),
                String::new(),
                String::new(),
            ]
        });
        let whole = [
            gpu.index.to_string(),
            gpu.model.clone(),
            gpu.uuid.clone(),
            gpu.node.display().to_string(),
        ];
        [whole].into_iter().chain(parts)
    });
    let text = format!("NVIDIA driver {driver}{}\n", cuda.unwrap_or_default());
    if gpus.is_empty() {
        return text + "no GPU\n";
    }
    text + &table(rows)
}

/// What an image would get, and why.
struct Explained {
    image: Image,
    /// The C library of the image, in words.
    library: String,
    nvidia: Nvidia,
}

impl Explained {
    fn new(args: &GpuExplain, host: &Host, caller: &Caller, messages: &Messages) -> Result<Self> {
        let source = Source::parse(&args.image, caller)?;
        let image = fetch::image(&source, &args.network, caller, messages)?;
        let named = || format!("{}: the image is damaged", image.path.display());
        let machine = host::machine(&image.root).with_context(|| {
            format!(
                "{}: no program is found in it that says for which machine it is",
                image.path.display()
            )
        })?;
        let loader = elf::Loader::new(&image.root, machine).with_context(named)?;
        let library = match (
            loader.flavour(),
            loader.glibc_version().with_context(named)?,
        ) {
            (Some(elf::Flavour::Glibc), Some(version)) => format!("glibc {version}"),
            (Some(elf::Flavour::Glibc), None) => "glibc of unknown version".to_owned(),
            (Some(elf::Flavour::Musl), _) => "musl".to_owned(),
            (None, _) => "no C library".to_owned(),
        };
        drop(loader);
        let nvidia = nvidia::nvidia(host, &image.root, machine).with_context(named)?;
        Ok(Self {
            image,
            library,
            nvidia,
        })
    }

    fn json(&self) -> Value {
        json!({
            "image": self.image.path,
            "library": self.library,
            "driver": self.nvidia.driver,
            "notes": self.nvidia.notes,
            "libraries": self.nvidia.verdicts,
            "mounts": self.nvidia.edits.mounts,
        })
    }

    fn text(&self) -> String {
        let image = self.image.path.display();
        let Some(driver) = &self.nvidia.driver else {
            return format!("{image}: {}; no NVIDIA driver on this host\n", self.library);
        };
        let mut text = format!("{image}: {}; NVIDIA driver {driver}\n", self.library);
        for note in &self.nvidia.notes {
            text.push_str(&format!("{note}\n"));
        }
        text + &table(self.nvidia.verdicts.iter().map(row))
    }
}

fn row(verdict: &Verdict) -> [String; 3] {
    let name = verdict.name.display().to_string();
    let from = Path::new(&verdict.host_path).display();
    let (fate, why) = match &verdict.fate {
        Fate::Lent { instead_of: None } => ("lent", format!("{from}")),
        Fate::Lent {
            instead_of: Some(own),
        } => (
            "lent",
            format!(
                "{from}, in place of the image's {}, which may be of another driver",
                own.display()
            ),
        ),
        Fate::Own { path } if verdict.class == Class::Driver => (
            "own",
            format!("the image's {}, newer than the driver's", path.display()),
        ),
        Fate::Own { path } => ("own", format!("the image's {}", path.display())),
        Fate::Left { reason } => ("left out", reason.clone()),
    };
    [fate.to_owned(), name, why]
}
