//! Assembling `config.json`.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::path::Path;

use oci_spec::runtime::{
    Capabilities, HookBuilder, Hooks, HooksBuilder, LinuxBuilder, LinuxCapabilities,
    LinuxCapabilitiesBuilder, LinuxDevice, LinuxDeviceBuilder, LinuxDeviceType,
    LinuxNamespaceBuilder, LinuxNamespaceType, ProcessBuilder, RootBuilder, SpecBuilder,
    UserBuilder,
};

use crate::mounts::{GENERATED, plan};
use crate::{Bundle, DefaultMount, Device, Error, GeneratedFile, Process, Request, Writable, etc};

/// Largest part of an image's `passwd` or `group` that is read, in bytes.
const ACCOUNT_FILE_LIMIT: usize = 4 << 20;

/// Makes apt fetch packages as root: it would become another user, and check that it has.
const APT_AS_ROOT: &str = "APT::Sandbox::User \"root\";\n";

/// Turns a request into a bundle.
///
/// # Errors
///
/// Fails when a bind cannot be made as requested, or the image cannot be read.
pub fn build(request: &Request<'_>) -> Result<Bundle, Error> {
    let files = generated_files(request)?;
    let names: Vec<&str> = files.iter().map(|file| file.name).collect();
    let mounts = plan(request, &names)?;
    let mut namespaces = vec![LinuxNamespaceType::Mount];
    if request.own_processes {
        namespaces.push(LinuxNamespaceType::Pid);
    }
    if request.own_ipc {
        namespaces.push(LinuxNamespaceType::Ipc);
    }
    if request.own_network {
        namespaces.push(LinuxNamespaceType::Network);
    }
    if request.own_uts {
        namespaces.push(LinuxNamespaceType::Uts);
    }
    let namespaces = namespaces
        .into_iter()
        .map(|kind| LinuxNamespaceBuilder::default().typ(kind).build())
        .collect::<Result<Vec<_>, _>>()?;
    let linux = LinuxBuilder::default()
        .namespaces(namespaces)
        // Below the caller's own cgroup, to which a job's limits and accounting apply.
        .cgroups_path(request.paths.cgroup.clone())
        .devices(devices(request)?)
        .build()?;
    let spec = SpecBuilder::default()
        .version("1.2.0")
        .root(
            RootBuilder::default()
                .path(request.paths.root.clone())
                .readonly(request.writable == Writable::No)
                .build()?,
        )
        .mounts(mounts.mounts)
        .process(process(request.process, request)?)
        .linux(without_defaults(linux))
        .build()?;
    let mut spec = spec;
    // The builder's default is a name.
    spec.set_hostname(request.hostname.map(str::to_owned));
    spec.set_hooks(hooks(&request.edits.hooks)?);
    Ok(Bundle {
        spec,
        files,
        mount_points: mounts.mount_points,
        warnings: mounts.warnings,
    })
}

/// Removes the builder's defaults, which are those of an isolated container. Ours shares everything
/// that the document does not name.
fn without_defaults(mut linux: oci_spec::runtime::Linux) -> oci_spec::runtime::Linux {
    linux
        .set_resources(None)
        .set_masked_paths(None)
        .set_readonly_paths(None)
        .set_uid_mappings(None)
        .set_gid_mappings(None);
    linux
}

fn generated_files(request: &Request<'_>) -> Result<Vec<GeneratedFile>, Error> {
    let image_file = |path: &str| {
        request
            .root
            .read(Path::new(path), ACCOUNT_FILE_LIMIT)
            .map(|bytes| String::from_utf8_lossy(&bytes.unwrap_or_default()).into_owned())
            .map_err(|source| Error::Image {
                path: path.into(),
                source,
            })
    };
    let [
        (passwd, passwd_path),
        (group, group_path),
        (resolv, _),
        (hostname, _),
        (cache, _),
        (apt, _),
    ] = GENERATED;
    let mut files = Vec::new();
    // Root may add users (Apptainer, `addIdentityMount`): a mounted file cannot be replaced.
    let may_add_users =
        request.is_root_inside || request.writable != Writable::No && request.account.uid == 0;
    if !may_add_users {
        let users = etc::passwd(&image_file(passwd_path)?, request.account);
        let groups = etc::group(&image_file(group_path)?, request.account);
        files.extend(
            [(passwd, users), (group, groups)].map(|(name, text)| GeneratedFile {
                name,
                content: text.into_bytes(),
            }),
        );
    }
    if request.is_root_inside {
        files.push(GeneratedFile {
            name: apt,
            content: APT_AS_ROOT.into(),
        });
    }
    if let Some(content) = &request.host.resolv_conf {
        files.push(GeneratedFile {
            name: resolv,
            content: content.clone(),
        });
    }
    if let Some(name) = request.hostname {
        files.push(GeneratedFile {
            name: hostname,
            content: format!("{name}\n").into_bytes(),
        });
    }
    if let Some(content) = &request.edits.library_cache {
        files.push(GeneratedFile {
            name: cache,
            content: content.clone(),
        });
    }
    Ok(files)
}

fn devices(request: &Request<'_>) -> Result<Vec<LinuxDevice>, Error> {
    if request.contained || request.directories.omitted.contains(&DefaultMount::Dev) {
        // Injected devices are mounts here: the engine makes devices only at the top of `/dev`.
        return Ok(Vec::new());
    }
    let (host, edits) = (&request.host.devices, request.edits);
    // In `/dev`, injected devices and those that the caller may open anyway are the same nodes.
    let injected = |device: &&Device| edits.device_nodes.contains(&device.path);
    let own = |device: &&Device| !edits.device_nodes.contains(&device.path);
    host.iter()
        .filter(own)
        .chain(host.iter().filter(injected))
        .map(|device| {
            Ok(LinuxDeviceBuilder::default()
                .path(device.path.clone())
                .typ(if device.block {
                    LinuxDeviceType::B
                } else {
                    LinuxDeviceType::C
                })
                .major(i64::from(device.major))
                .minor(i64::from(device.minor))
                .file_mode(device.mode)
                .build()?)
        })
        .collect()
}

/// Returns the hooks that run while a container is made.
fn hooks(injected: &[cdi::Hook]) -> Result<Option<Hooks>, Error> {
    let of = |stage: &str| {
        let of_it = injected.iter().filter(|hook| hook.hook_name == stage);
        let built = of_it.map(|hook| {
            let mut builder = HookBuilder::default()
                .path(hook.path.clone())
                .args(hook.args.clone())
                .env(hook.env.clone());
            if let Some(timeout) = hook.timeout {
                builder = builder.timeout(timeout);
            }
            builder.build()
        });
        built.collect::<Result<Vec<_>, _>>()
    };
    if injected.is_empty() {
        return Ok(None);
    }
    let hooks = HooksBuilder::default()
        .create_runtime([of("prestart")?, of("createRuntime")?].concat())
        .create_container(of("createContainer")?)
        .build()?;
    Ok(Some(hooks))
}

fn process(process: &Process, request: &Request<'_>) -> Result<oci_spec::runtime::Process, Error> {
    let account = request.account;
    let user = UserBuilder::default()
        .uid(account.uid)
        .gid(account.gid)
        .build()?;
    let env = process
        .env
        .iter()
        .map(|(name, value)| format!("{}={}", text(name), text(value)));
    let builder = ProcessBuilder::default()
        .terminal(false)
        .user(user)
        .args(process.args.iter().map(|arg| text(arg)).collect::<Vec<_>>())
        .env(env.collect::<Vec<_>>())
        .cwd(process.cwd.clone());
    let mut built = builder
        .no_new_privileges(process.no_new_privileges)
        .build()?;
    built.set_rlimits(None);
    built.set_capabilities(Some(capabilities(&process.capabilities)?));
    Ok(built)
}

fn capabilities(names: &BTreeSet<String>) -> Result<LinuxCapabilities, Error> {
    // The library knows them without the prefix.
    let short = names.iter().map(|name| name.trim_start_matches("CAP_"));
    let known = short.filter_map(|name| name.parse().ok());
    let all: Capabilities = known.collect();
    Ok(LinuxCapabilitiesBuilder::default()
        .bounding(all.clone())
        .effective(all.clone())
        .inheritable(all.clone())
        .permitted(all.clone())
        .ambient(all)
        .build()?)
}

/// Converts bytes, which JSON does not have, to text. The executed program gets the original bytes;
/// a printed document shows them as well as possible.
fn text(bytes: &OsStr) -> String {
    bytes.to_string_lossy().into_owned()
}
