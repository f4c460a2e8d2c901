//! Network devices of the host's that a container gets ([config-linux.md], "Network Devices").
//!
//! The runtime moves them into the container's network namespace, which takes their addresses away.
//! The first process gives them back.
//!
//! [config-linux.md]: https://github.com/opencontainers/runtime-spec/blob/main/config-linux.md#netdevices

use std::collections::HashMap;
use std::fs::File;
use std::os::fd::AsRawFd;

use libcontainer::network::address::AddressClient;
use libcontainer::network::cidr::CidrAddress;
use libcontainer::network::link::LinkClient;
use libcontainer::network::network_device::{
    dev_change_net_namespace, resolve_device_name, setup_addresses_in_network_namespace,
};
use libcontainer::network::wrapper::create_network_client;
use libcontainer::oci_spec::runtime::LinuxNetDevice;
use nix::unistd::Pid;

use super::channel::{Channel, Message};
use crate::error::of_library;
use crate::{Document, Error};

type Devices = HashMap<String, LinuxNetDevice>;

fn devices(document: &Document) -> Result<Devices, String> {
    match document.pointer("/linux/netDevices") {
        Some(devices) => serde_json::from_value(devices.clone())
            .map_err(|error| format!("linux.netDevices: {error}")),
        None => Ok(Devices::new()),
    }
}

/// Moves the devices into the network namespace of the first process. Returns their addresses.
pub(super) fn move_devices(document: &Document, init: Pid) -> Result<Vec<u8>, Error> {
    let path = format!("/proc/{init}/ns/net");
    let namespace = File::open(&path).map_err(Error::state("open", path))?;
    let mut addresses: HashMap<String, Vec<CidrAddress>> = HashMap::new();
    for (name, device) in devices(document).map_err(Error::Refused)? {
        let moved = dev_change_net_namespace(&name, namespace.as_raw_fd(), &device);
        let moved = moved.map_err(|error| {
            Error::Create(format!(
                "move the network device {name}: {}",
                of_library(&error)
            ))
        })?;
        addresses.insert(name, moved);
    }
    serde_json::to_vec(&addresses)
        .map_err(|error| Error::library("pass on the addresses of network devices", &error))
}

/// Gives the devices their addresses, and brings them up.
pub(super) fn set_up_devices(document: &Document, channel: &Channel) -> Result<(), String> {
    let devices = devices(document)?;
    if devices.is_empty() {
        return Ok(());
    }
    let answer = channel.ask(&Message::Devices);
    let answer = answer.map_err(|error| format!("linux.netDevices: {}", text::message(&error)))?;
    let addresses: HashMap<String, Vec<CidrAddress>> =
        serde_json::from_slice(&answer).map_err(|error| format!("linux.netDevices: {error}"))?;
    for (name, device) in &devices {
        let of_device = addresses.get(name).map(Vec::as_slice).unwrap_or_default();
        let set_up = || -> Result<(), Box<dyn std::error::Error>> {
            let own_name = resolve_device_name(device, name);
            let mut links = LinkClient::new(create_network_client())?;
            let mut clients = AddressClient::new(create_network_client())?;
            let index = links.get_by_name(own_name)?.header.index;
            setup_addresses_in_network_namespace(of_device, index, own_name, &mut clients)?;
            links.set_up(index)?;
            Ok(())
        };
        set_up().map_err(|error| {
            format!(
                "set up the network device {name}: {}",
                of_library(error.as_ref())
            )
        })?;
    }
    Ok(())
}
