//! Asks the daemon over the socket in its runtime directory.

use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use node_status::{NodeStatus, STATUS_PATH, STATUS_SOCKET};

/// A daemon that has not answered by then hangs; it answers in milliseconds.
const PATIENCE: Duration = Duration::from_secs(5);
/// A status of 5 000 peers has some 2 MB.
const LONGEST_ANSWER: u64 = 64 << 20;

/// Reads the daemon's status.
///
/// # Errors
/// When no daemon runs there, this user may not ask it, or it answers with something else.
pub(crate) fn ask(runtime_directory: &Path) -> Result<NodeStatus> {
    let path = runtime_directory.join(STATUS_SOCKET);
    let socket = UnixStream::connect(&path).map_err(|error| explain(&path, error))?;
    let answer =
        exchange(socket).with_context(|| format!("ask the daemon at {}", path.display()))?;
    let (head, body) = split(&answer).context("read the daemon's answer: not HTTP")?;
    let first = head.lines().next().unwrap_or_default();
    if first.split(' ').nth(1) != Some("200") {
        bail!(
            "ask the daemon at {}: it answered {first:?}, is it of another version?",
            path.display()
        );
    }
    Ok(NodeStatus::from_json(body)?)
}

fn explain(path: &Path, error: std::io::Error) -> anyhow::Error {
    let reason = if matches!(
        error.kind(),
        ErrorKind::NotFound | ErrorKind::ConnectionRefused
    ) {
        "the daemon is not running: start it with `sotto-node run`, or name its directory with --runtime-directory"
    } else if error.kind() == ErrorKind::PermissionDenied {
        "this user may not ask the daemon: run as root"
    } else {
        "is this the daemon's runtime directory?"
    };
    anyhow::Error::new(error).context(format!("reach the daemon at {}: {reason}", path.display()))
}

fn exchange(mut socket: UnixStream) -> std::io::Result<Vec<u8>> {
    socket.set_read_timeout(Some(PATIENCE))?;
    socket.set_write_timeout(Some(PATIENCE))?;
    write!(socket, "GET {STATUS_PATH} HTTP/1.0\r\nHost: sotto\r\n\r\n")?;
    let mut answer = Vec::new();
    socket.take(LONGEST_ANSWER).read_to_end(&mut answer)?;
    Ok(answer)
}

fn split(answer: &[u8]) -> Option<(&str, &[u8])> {
    let end = answer.windows(4).position(|bytes| bytes == b"\r\n\r\n")?;
    let head = std::str::from_utf8(answer.get(..end)?).ok()?;
    Some((head, answer.get(end + 4..)?))
}

#[cfg(test)]
mod tests {
    use super::{ask, split};

    #[test]
    fn an_absent_daemon_is_told_with_its_cure() {
        let directory = tempfile::tempdir().unwrap();

        let error = format!("{:#}", ask(directory.path()).unwrap_err());

        assert!(
            error.contains("the daemon is not running: start it with `sotto-node run`"),
            "{error}"
        );
    }

    #[test]
    fn a_daemon_that_died_is_told_like_an_absent_one() {
        let directory = tempfile::tempdir().unwrap();
        drop(std::os::unix::net::UnixListener::bind(directory.path().join("status.sock")).unwrap());

        let error = format!("{:#}", ask(directory.path()).unwrap_err());

        assert!(error.contains("the daemon is not running"), "{error}");
    }

    #[test]
    fn an_answer_is_cut_behind_its_head() {
        assert_eq!(
            split(b"HTTP/1.0 200 OK\r\na: b\r\n\r\n{}"),
            Some(("HTTP/1.0 200 OK\r\na: b", b"{}".as_slice()))
        );
        assert_eq!(split(b"SSH-2.0\r\n"), None);
    }
}
