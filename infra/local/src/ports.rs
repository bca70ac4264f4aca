//! Ports: the fixed ones of `cargo local`, free ones for tests, and who holds one that is taken.

use std::{
    net::{Ipv4Addr, SocketAddr, TcpListener},
    path::Path,
};

use serde::{Deserialize, Serialize};

use crate::error::{Context, Problem, Result};

/// The ports of one stack, all on 127.0.0.1.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Ports {
    /// Front door.
    pub front_door: u16,
    /// AWS emulator.
    pub emulator: u16,
    /// PostgreSQL.
    pub postgres: u16,
    /// Model server.
    pub models: u16,
}

impl Default for Ports {
    /// The fixed ports of `cargo local`.
    fn default() -> Self {
        Self { front_door: 8080, emulator: 4566, postgres: 5433, models: 4570 }
    }
}

impl Ports {
    /// Four ports that were free a moment ago.
    pub fn free() -> Result<Self> {
        // All four are held until all are known, or the system could give the same one twice.
        let listeners = (0..4)
            .map(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)))
            .collect::<Result<Vec<_>, _>>()
            .context(|| "Could not find free ports")?;
        let ports: Vec<u16> =
            listeners.iter().filter_map(|l| l.local_addr().ok()).map(|a| a.port()).collect();
        match ports.as_slice() {
            &[front_door, emulator, postgres, models] => Ok(Self { front_door, emulator, postgres, models }),
            _ => Err(Problem::new("Could not find free ports")),
        }
    }
}

/// Fails when something listens on the port: says what does, as far as can be known, and how to choose another.
pub(crate) fn require_free(port: u16, what: &str, flag: &str, variable: &str) -> Result<()> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    match TcpListener::bind(address) {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::AddrInUse => {
            let holder = holder(port).map_or(String::new(), |holder| format!(" by {holder}"));
            Err(Problem::new(format!("Port {port}, which {what} needs, is in use{holder}")).remedy(format!(
                "Stop that program, or choose another port with {flag} PORT or {variable}=PORT."
            )))
        }
        Err(error) => Err(Problem::caused(format!("Could not use port {port} for {what}"), &error)),
    }
}

/// The process that listens on a port, as "name (process 123)". Linux only, and only for processes we may look into.
fn holder(port: u16) -> Option<String> {
    let tables =
        ["/proc/net/tcp", "/proc/net/tcp6"].iter().filter_map(|table| std::fs::read_to_string(table).ok());
    let inodes: Vec<String> = tables.flat_map(|table| listening_inodes(&table, port)).collect();
    for process in std::fs::read_dir("/proc").ok()?.flatten() {
        let Some(id) = process.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else {
            continue;
        };
        let Ok(files) = std::fs::read_dir(process.path().join("fd")) else { continue };
        let holds = files.flatten().filter_map(|file| std::fs::read_link(file.path()).ok()).any(|target| {
            let target = target.to_string_lossy().into_owned();
            inodes.iter().any(|inode| target == format!("socket:[{inode}]"))
        });
        if holds {
            return Some(format!("{} (process {id})", command_of(&process.path())));
        }
    }
    None
}

fn command_of(process: &Path) -> String {
    let line = std::fs::read(process.join("cmdline")).unwrap_or_default();
    let words = String::from_utf8_lossy(&line).replace('\0', " ");
    let words = words.trim();
    if words.chars().count() > 80 {
        format!("{} ...", words.chars().take(80).collect::<String>())
    } else {
        words.into()
    }
}

/// Inodes of the sockets that listen on a port, from the text of /proc/net/tcp (proc(5)).
fn listening_inodes(table: &str, port: u16) -> Vec<String> {
    const LISTEN: &str = "0A";
    let wanted = format!(":{port:04X}");
    table
        .lines()
        .skip(1)
        .filter_map(|line| {
            let fields: Vec<&str> = line.split_whitespace().collect();
            match (fields.get(1), fields.get(3), fields.get(9)) {
                (Some(local), Some(&LISTEN), Some(inode)) if local.ends_with(&wanted) => {
                    Some((*inode).to_owned())
                }
                _ => None,
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_listening_sockets_of_the_port_count() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n\
             0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4242 1\n\
             1: 0100007F:1F90 0100007F:9C40 01 00000000:00000000 00:00000000 00000000     0        0 4243 1\n\
             2: 0100007F:1F91 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4244 1\n";
        assert_eq!(listening_inodes(table, 8080), ["4242"]);
    }

    #[test]
    fn a_taken_port_is_named_with_its_holder_and_the_way_out() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let text = require_free(port, "the front door", "--port", "DOCUCHAT_PORT").unwrap_err().to_string();
        assert!(text.contains(&format!("Port {port}, which the front door needs, is in use")), "{text}");
        assert!(text.contains("--port PORT or DOCUCHAT_PORT=PORT"), "{text}");
        if cfg!(target_os = "linux") {
            assert!(text.contains(&format!("(process {})", std::process::id())), "{text}");
        }
    }

    #[test]
    fn free_ports_differ() {
        let ports = Ports::free().unwrap();
        let all = std::collections::BTreeSet::from([
            ports.front_door,
            ports.emulator,
            ports.postgres,
            ports.models,
        ]);
        assert_eq!(all.len(), 4);
    }
}
