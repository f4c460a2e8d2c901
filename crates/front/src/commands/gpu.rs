//! `front gpu`: this host's GPUs, and the driver files that an image would get.

use std::io::Write as _;
use std::path::Path;
use sys::ExitCode;

use anyhow::{Context, Result};
use image::Image;
use inject::{Class, Decision, DriverEdits, Host, Vendor, Verdict, Wanted, nvidia, rocm};
use serde_json::{Value, json};

use crate::caller::Caller;
use crate::cli::{Gpu, GpuCommand, GpuExplain};
use crate::host;
use crate::json;
use crate::launch::open_image;
use crate::messages::Messages;
use crate::request::Source;
use crate::table::table;

pub fn run(args: &Gpu, caller: &Caller, messages: &Messages) -> Result<ExitCode> {
    let host = host::with_programs(caller)?;
    let text = match &args.command {
        Some(GpuCommand::Explain(explain)) => {
            let explained = Explained::new(explain, &host, caller, messages)?;
            match explain.json || args.json {
                true => json::spaced(&explained.json())?,
                false => explained.text(),
            }
        }
        None if args.json => json::spaced(&host_json(&host))?,
        None => host_text(&host),
    };
    let written = std::io::stdout().lock().write_all(text.as_bytes());
    written.context("print")?;
    Ok(ExitCode::SUCCESS)
}

/// A vendor's driver on this host, with its description and its GPUs.
struct Own {
    name: &'static str,
    driver: String,
    gpus: Vec<inject::Gpu>,
}

fn own(host: &Host) -> Vec<Own> {
    let machine = host::own_machine();
    let nvidia = machine
        .and_then(|machine| nvidia::driver(host, machine))
        .map(|driver| {
            let cuda = nvidia::cuda(&driver);
            let cuda = cuda.map(|(major, minor)| format!(", CUDA {major}.{minor}"));
            Own {
                name: "NVIDIA",
                driver: driver + &cuda.unwrap_or_default(),
                gpus: nvidia::gpus(host),
            }
        });
    let amd = rocm::driver(host).map(|driver| Own {
        name: "AMD",
        driver,
        gpus: rocm::gpus(host),
    });
    nvidia.into_iter().chain(amd).collect()
}

fn host_json(host: &Host) -> Value {
    let each = own(host).into_iter();
    let each = each.map(|own| {
        (
            own.name.to_lowercase(),
            json!({"driver": own.driver, "gpus": own.gpus}),
        )
    });
    Value::Object(each.collect())
}

fn host_text(host: &Host) -> String {
    let all = own(host);
    if all.is_empty() {
        return "no NVIDIA driver, no AMD driver\n".to_owned();
    }
    all.iter().map(vendor_text).collect()
}

fn vendor_text(own: &Own) -> String {
    let text = format!("{} driver {}\n", own.name, own.driver);
    if own.gpus.is_empty() {
        return text + "no GPU\n";
    }
    let rows = own.gpus.iter().flat_map(|gpu| {
        let parts = gpu.parts.iter().enumerate().map(|(index, part)| {
            let (above, below) = (part.gpu_instance, part.compute_instance);
            [
                format!("{}:{index}", gpu.index),
                format!("part {above}/{below}"),
                String::new(),
                String::new(),
            ]
        });
        let nodes: Vec<String> = gpu
            .nodes
            .iter()
            .map(|node| node.display().to_string())
            .collect();
        let whole = [
            gpu.index.to_string(),
            gpu.model.clone(),
            gpu.uuid.clone(),
            nodes.join(" "),
        ];
        [whole].into_iter().chain(parts)
    });
    text + &table(rows)
}

/// The libraries that an image would get, with the reasons.
struct Explained {
    image: Image,
    /// Description of the image's C library.
    library: String,
    injected: DriverEdits,
}

impl Explained {
    fn new(args: &GpuExplain, host: &Host, caller: &Caller, messages: &Messages) -> Result<Self> {
        let source = Source::parse(&args.image, caller)?;
        let options = source.registry_options(&args.registry, caller)?;
        let image = open_image(&source, options.as_ref(), caller, messages)?;
        let named = || format!("{}: the image is damaged", image.path.display());
        let machine = host::machine(&image.root).with_context(|| {
            format!(
                "{}: cannot determine its architecture: no known program found in it",
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
        let wanted = Wanted::all(vec![Vendor::Nvidia, Vendor::Amd]);
        let injected =
            inject::driver_edits(host, &image.root, machine, &wanted).with_context(named)?;
        Ok(Self {
            image,
            library,
            injected,
        })
    }

    fn json(&self) -> Value {
        let notes = self.injected.notes.iter().map(ToString::to_string);
        let notes: Vec<String> = notes.collect();
        json!({
            "image": self.image.path,
            "library": self.library,
            "drivers": self.drivers(),
            "notes": notes,
            "libraries": self.injected.verdicts,
            "mounts": self.injected.edits.mounts,
        })
    }

    /// Returns descriptions of the drivers.
    fn drivers(&self) -> Vec<String> {
        let each = self.injected.drivers.iter();
        each.map(|(vendor, driver)| match vendor {
            Vendor::Nvidia => format!("NVIDIA driver {driver}"),
            Vendor::Amd => format!("AMD driver {driver}"),
        })
        .collect()
    }

    fn text(&self) -> String {
        let image = self.image.path.display();
        let drivers = match self.drivers().as_slice() {
            [] => "no GPU driver on this host".to_owned(),
            drivers => drivers.join(", "),
        };
        let mut text = format!("{image}: {}; {drivers}\n", self.library);
        for note in &self.injected.notes {
            text.push_str(&format!("{}\n", text::printable(&note.to_string())));
        }
        text + &table(self.injected.verdicts.iter().map(row))
    }
}

fn row(verdict: &Verdict) -> [String; 3] {
    let name = verdict.name.display().to_string();
    let from = Path::new(&verdict.host_path).display();
    let (decision, why) = match &verdict.decision {
        Decision::Injected { instead_of: None } => ("injected", format!("{from}")),
        Decision::Injected {
            instead_of: Some(own),
        } => (
            "injected",
            format!(
                "{from}, instead of the image's {}, which may belong to another driver version",
                own.display()
            ),
        ),
        Decision::Own { path } if verdict.class == Class::Driver => (
            "own",
            format!("the image's {}, newer than the driver's", path.display()),
        ),
        Decision::Own { path } => ("own", format!("the image's {}", path.display())),
        Decision::Left { reason } => ("left out", reason.clone()),
    };
    [decision.to_owned(), name, why]
}
