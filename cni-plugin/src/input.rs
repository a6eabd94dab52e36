//! Standard input, read whole, with a limit on its size and its time.

use std::os::fd::AsFd;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::deadline::Deadline;

/// Largest configuration in bytes; real ones have some kilobytes, with the results of a chain.
pub(crate) const MAXIMUM_INPUT: usize = 1 << 20;

/// The same for a GC, which lists every attachment: 100 000 of them are some 12 MB.
pub(crate) const MAXIMUM_GC_INPUT: usize = 32 << 20;

/// Why standard input could not be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum InputError {
    /// The writer neither closed nor wrote.
    #[error("read network configuration: standard input was not closed in time")]
    NeverClosed,
    /// More than any runtime has to say.
    #[error("read network configuration: standard input has more than {0} bytes")]
    TooLong(usize),
    /// The kernel said no.
    #[error("read network configuration from standard input")]
    Read(#[source] Errno),
}

/// Reads until the writer closes, at most so many bytes.
pub(crate) fn read_all(
    input: impl AsFd,
    most: usize,
    deadline: Deadline,
) -> Result<Vec<u8>, InputError> {
    let mut text = Vec::new();
    let mut piece = vec![0; 1 << 16];
    loop {
        wait_readable(&input, deadline)?;
        let length = match nix::unistd::read(&input, &mut piece) {
            Ok(0) => return Ok(text),
            Ok(length) => length,
            Err(Errno::EINTR | Errno::EAGAIN) => continue,
            Err(error) => return Err(InputError::Read(error)),
        };
        text.extend(piece.iter().take(length));
        if text.len() > most {
            return Err(InputError::TooLong(most));
        }
    }
}

fn wait_readable(input: &impl AsFd, deadline: Deadline) -> Result<(), InputError> {
    loop {
        let left = deadline.remaining().ok_or(InputError::NeverClosed)?;
        let mut files = [PollFd::new(input.as_fd(), PollFlags::POLLIN)];
        let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
        match poll(&mut files, timeout) {
            Ok(0) | Err(Errno::EINTR) => {}
            Ok(_) => return Ok(()),
            Err(error) => return Err(InputError::Read(error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::time::Duration;

    use super::*;

    #[test]
    fn all_of_a_long_input_is_read() {
        let (reader, mut writer) = std::io::pipe().unwrap();
        let text = vec![b'x'; 1 << 20];
        let expected = text.clone();
        let writing = std::thread::spawn(move || writer.write_all(&text).unwrap());

        let read = read_all(
            &reader,
            MAXIMUM_INPUT,
            Deadline::after(Duration::from_secs(10)),
        )
        .unwrap();

        writing.join().unwrap();
        assert_eq!(read, expected);
    }

    #[test]
    fn cn15_an_input_that_is_never_closed_ends_at_the_deadline() {
        let (reader, mut writer) = std::io::pipe().unwrap();
        writer.write_all(b"{").unwrap();

        let read = read_all(
            &reader,
            MAXIMUM_INPUT,
            Deadline::after(Duration::from_millis(50)),
        );

        assert!(matches!(read, Err(InputError::NeverClosed)), "{read:?}");
    }

    #[test]
    fn cn15_an_endless_input_is_refused() {
        for most in [MAXIMUM_INPUT, MAXIMUM_GC_INPUT] {
            let zeros = std::fs::File::open("/dev/zero").unwrap();

            let read = read_all(&zeros, most, Deadline::after(Duration::from_secs(10)));

            assert!(
                matches!(read, Err(InputError::TooLong(it)) if it == most),
                "{most}"
            );
        }
    }
}
