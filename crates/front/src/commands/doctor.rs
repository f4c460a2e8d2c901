//! `front doctor`: reports what will work, what will be slow and what will fail, before anything is
//! started.

use std::ffi::OsStr;
use std::io::Write as _;
use std::path::Path;
use sys::ExitCode;

use anyhow::{Context, Result};
use doctor::{Finding, Program, Verdict, Wanted};
use inject::{Host, View};
use rootfs::Files;

use crate::caller::Caller;
use crate::cli::Doctor;
use crate::host;
use crate::json;
use crate::launch::{Looked, ProgramLocation, look};
use crate::messages::Messages;
use crate::mpi_mode::MpiMode;
use crate::request::{Action, Request, Source};

/// Exit status if something will be slow, and if something will fail.
const SLOW: u8 = 2;
const FAILS: u8 = 1;

pub fn run(args: &Doctor, caller: &Caller, messages: &Messages) -> Result<ExitCode> {
    // The findings of one rank hold for all on its node, and the first rank that fails ends the
    // job. So the other ranks do nothing.
    let job = caller.job();
    let is_first = job
        .as_ref()
        .and_then(|job| job.rank)
        .is_none_or(|rank| rank == 0);
    let is_first_here = job.is_some_and(|job| job.local_rank == Some(0));
    if !is_first && !is_first_here {
        return Ok(ExitCode::SUCCESS);
    }
    let host = host::with_programs(caller)?;
    let namespaces = session::try_namespaces().err();
    let mut findings = doctor::host(&host, namespaces.map(|error| text::one_line(&error)));
    if let Some((image, command)) = args.words.split_first() {
        // As with exec, `--` may stand between the image and the command.
        let command = match command.split_first() {
            Some((first, rest)) if first == "--" => rest,
            _ => command,
        };
        let source = Source::parse(image, caller)?;
        let action = Action::Exec(command.to_vec());
        let request = Request::new(source, action, &args.flags, caller)?;
        findings.extend(of_image(&request, &host, caller, messages)?);
    }
    if !is_first {
        findings.retain(|finding| finding.is_of_the_node() && finding.verdict != Verdict::Works);
        let node = rustix::system::uname()
            .nodename()
            .to_string_lossy()
            .into_owned();
        for finding in &mut findings {
            finding.node = Some(node.clone());
        }
        if findings.is_empty() {
            return Ok(ExitCode::SUCCESS);
        }
    }
    let text = match args.json {
        true => json::spaced(&findings)?,
        false => findings.iter().map(line).collect(),
    };
    let written = std::io::stdout().lock().write_all(text.as_bytes());
    written.context("print")?;
    let worst = findings.iter().map(|finding| finding.verdict).max();
    Ok(match worst {
        Some(Verdict::Fails) => ExitCode::from(FAILS),
        Some(Verdict::Slow) => ExitCode::from(SLOW),
        _ => ExitCode::SUCCESS,
    })
}

fn line(finding: &Finding) -> String {
    let (verdict, topic) = (finding.verdict.word(), finding.topic);
    let remedy = finding.remedy.as_ref().map(|remedy| format!("; {remedy}"));
    let node = finding.node.as_ref().map(|node| format!("{node}: "));
    let words = [node.unwrap_or_default(), finding.what.clone()].concat();
    let words = text::printable(&(words + &remedy.unwrap_or_default()));
    format!("{verdict:<7}{topic:<15}{words}\n")
}

fn of_image(
    request: &Request,
    host: &Host,
    caller: &Caller,
    messages: &Messages,
) -> Result<Vec<Finding>> {
    let Looked {
        image,
        location,
        env,
        name,
        is_plain,
    } = look(request, caller, messages)?;
    let get = |name: &str| {
        env.iter()
            .find(|(own, _)| own == name)
            .map(|(_, value)| value.as_os_str())
    };
    let mut findings = Vec::new();
    let program: Option<(&dyn Files, &Path)> = match &location {
        Some(ProgramLocation::Image(path)) => Some((&image.root, path)),
        Some(ProgramLocation::Host(path)) => Some((host.files(), path)),
        None => None,
    };
    let failed = || format!("examine {}", image.path.display());
    let processor = host::processor().context("this program's own file cannot be read")?;
    let program = program.map(|(files, path)| Program {
        name: &name,
        files,
        path,
        library_path: get("LD_LIBRARY_PATH"),
        is_whole: is_plain
            && request.container.mounts.binds.is_empty()
            && request.container.devices.vendors.is_empty()
            && matches!(location, Some(ProgramLocation::Image(_))),
        mpi_apart: request.container.mpi.mode != MpiMode::None,
    });
    if program.is_none() && !name.is_empty() {
        findings.push(Finding {
            topic: "program",
            verdict: Verdict::Fails,
            node: None,
            what: format!("{name} is not in the image"),
            remedy: Some(
                "give its full path; PATH in the container is ".to_owned()
                    + &get("PATH").unwrap_or_default().to_string_lossy(),
            ),
        });
    }
    let machine = inject::machine(&image.root);
    findings
        .extend(doctor::program(&image.root, machine, processor, program).with_context(failed)?);
    if machine.is_some_and(|machine| machine.machine != processor.machine.machine) {
        return Ok(findings);
    }
    let machine = machine.unwrap_or(processor.machine);
    if request.container.mpi.mode != MpiMode::None
        && let Some(program) = program
    {
        let view = View {
            host,
            image: &image.root,
            machine,
            library_path: program.library_path,
        };
        findings.extend(of_mpi(request, view, program, caller).with_context(failed)?);
    }
    let cuda = get("CUDA_VERSION").and_then(OsStr::to_str);
    let gpus = doctor::gpus(
        host,
        &image.root,
        machine,
        &request.container.devices.vendors,
        cuda,
    );
    findings.extend(gpus.with_context(failed)?);
    Ok(findings)
}

fn of_mpi(
    request: &Request,
    view: View<'_>,
    program: Program<'_>,
    caller: &Caller,
) -> std::io::Result<Vec<Finding>> {
    let wanted = Wanted {
        policy: request.mpi_policy(),
        hints: &request.container.mpi.hints_beside_launcher(caller),
        job: request.job.as_ref(),
        shared: request.is_shared(),
    };
    doctor::mpi(view, program, &wanted)
}
