//! A port on this machine's loopback that leads to the cluster's API server.

use std::io::copy;
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;

use anyhow::Result;

use crate::kubernetes::whole::Whole;
use crate::kubernetes::{ADDRESS, PORT};
use crate::lab::Place;

/// Opens it and returns the port.
pub(super) fn open(cluster: &Whole) -> Result<u16> {
    let listener = TcpListener::bind(("127.0.0.1", 0))?;
    let port = listener.local_addr()?.port();
    let inside = cluster.control().place()?;
    thread::spawn(move || {
        for visitor in listener.incoming().flatten() {
            let inside = Arc::clone(&inside);
            thread::spawn(move || lead(&inside, visitor));
        }
    });
    Ok(port)
}

/// Carries one connection in both directions; who cannot be led on is hung up on.
fn lead(inside: &Place, visitor: TcpStream) {
    let connect = || Ok(TcpStream::connect(format!("{ADDRESS}:{PORT}"))?);
    let Ok(server) = inside.inside(connect) else {
        return;
    };
    let (Ok(visitor_too), Ok(server_too)) = (visitor.try_clone(), server.try_clone()) else {
        return;
    };
    thread::spawn(move || carry(visitor_too, server_too));
    carry(server, visitor);
}

fn carry(mut from: TcpStream, mut to: TcpStream) {
    let _ = copy(&mut from, &mut to);
    let _ = to.shutdown(Shutdown::Write);
}
