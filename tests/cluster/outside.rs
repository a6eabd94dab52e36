//! Who is no part of the cluster: stations on the switch, and a server in the world behind it.

use std::io::{Read, Write};
use std::net::{Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsRawFd;

use anyhow::Result;
use nix::sys::socket::{Shutdown, shutdown};
use sotto_tests::lab::{Lab, Place};

/// Addresses of a server that no range of the cluster holds; the switch answers for them.
pub(crate) const WORLD: [&str; 2] = ["203.0.113.9", "2001:db8:ffff::9"];

/// A server in the world that answers as the pods' web servers do: `<address of the client> <path>`.
#[derive(Debug)]
pub(crate) struct World {
    listener: TcpListener,
    /// Its port.
    pub(crate) port: u16,
}

impl World {
    pub(crate) fn open(lab: &Lab, port: u16) -> Result<Self> {
        lab.switch().shell(&format!(
            "ip address replace {}/32 dev lo; ip address replace {}/128 dev lo nodad",
            WORLD[0], WORLD[1]
        ))?;
        let bind = || Ok(TcpListener::bind((Ipv6Addr::UNSPECIFIED, port))?);
        let listener = lab.switch().inside(bind)?;
        let port = listener.local_addr()?.port();
        let accepting = listener.try_clone()?;
        std::thread::spawn(move || {
            for visitor in accepting.incoming().map_while(Result::ok) {
                let _ = answer(visitor);
            }
        });
        Ok(Self { listener, port })
    }

    /// Its address of a family.
    pub(crate) fn address(ipv6: bool) -> &'static str {
        WORLD[usize::from(ipv6)]
    }
}

impl Drop for World {
    fn drop(&mut self) {
        let _ = shutdown(self.listener.as_raw_fd(), Shutdown::Both);
    }
}

fn answer(mut visitor: TcpStream) -> Result<()> {
    let mut request = [0; 1024];
    let length = visitor.read(&mut request)?;
    let request = String::from_utf8_lossy(&request[..length]).into_owned();
    let path = request.split_whitespace().nth(1).unwrap_or_default();
    let who = match visitor.peer_addr()? {
        SocketAddr::V4(who) => who.ip().to_string(),
        SocketAddr::V6(who) => who.ip().to_canonical().to_string(),
    };
    let body = format!("{who} {path}\n");
    let length = body.len();
    write!(
        visitor,
        "HTTP/1.1 200 OK\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
    )?;
    Ok(())
}

/// What a machine gets at a URL, asked once.
pub(crate) fn fetch(from: &Place, url: &str) -> Result<String> {
    from.run("curl", &["-sSgf", "--max-time", "5", "--noproxy", "*", url])
}
