//! A node of a measurement as a process: it is told what to do on its standard input, and what it says comes as lines.

use crate::node::Failure;
use std::{
    io::{BufRead as _, BufReader, Write as _},
    process::{Child, ChildStdin, Command, Stdio},
    sync::mpsc::Sender,
};

/// A running process; it ends with this.
pub(crate) struct Process {
    pub(crate) child: Child,
    input: ChildStdin,
}

impl Drop for Process {
    fn drop(&mut self) {
        self.end();
    }
}

impl Process {
    /// Starts a command. Each line that it says goes to `lines`, with this number before it.
    pub(crate) fn spawn(
        command: &mut Command,
        number: usize,
        lines: &Sender<(usize, String)>,
    ) -> Result<Self, Failure> {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let input = child.stdin.take().ok_or("no input")?;
        let output = child.stdout.take().ok_or("no output")?;
        let lines = lines.clone();
        std::thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                if lines.send((number, line)).is_err() {
                    return;
                }
            }
        });
        Ok(Self { child, input })
    }

    pub(crate) fn tell(&mut self, line: &str) -> Result<(), Failure> {
        writeln!(self.input, "{line}")?;
        self.input.flush()?;
        Ok(())
    }

    pub(crate) fn end(&mut self) {
        // Gone already is as good.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
