//! SIGINT and SIGTERM, and the end of whoever started this process.

use tokio::signal::unix::{SignalKind, signal};

/// Ends when the process is asked to end; never where signals cannot be had.
pub async fn ended() {
    let (Ok(mut interrupt), Ok(mut terminate)) =
        (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
    else {
        tracing::error!("signals cannot be listened for");
        return std::future::pending().await;
    };
    tokio::select! {
        _ = interrupt.recv() => tracing::info!("SIGINT"),
        _ = terminate.recv() => tracing::info!("SIGTERM"),
    }
}

/// SIGHUP: settings are to be read anew. `None` where the signal cannot be had; else it ends the process no more.
pub fn hangups() -> Option<tokio::signal::unix::Signal> {
    signal(SignalKind::hangup())
        .inspect_err(|error| tracing::error!(%error, "SIGHUP cannot be listened for"))
        .ok()
}

/// Ends when standard input does: whoever holds its other end is gone. The thread that reads it ends with the process.
pub async fn stdin_ended() {
    let (tell, ended) = tokio::sync::oneshot::channel();
    let reading = std::thread::Builder::new().name("stdin".into()).spawn(move || {
        // What stands in it means nothing; an error is an end too.
        let _ = std::io::copy(&mut std::io::stdin().lock(), &mut std::io::sink());
        let _ = tell.send(());
    });
    if let Err(error) = reading {
        tracing::error!(%error, "standard input cannot be watched");
        return std::future::pending().await;
    }
    // The thread sends before it ends.
    let _ = ended.await;
    tracing::info!("standard input ended");
}

/// Asks a child process to end (SIGTERM), by its process id. One that has ended already is no error.
pub fn terminate(pid: u32) {
    let pid = i32::try_from(pid).ok().and_then(rustix::process::Pid::from_raw);
    if let Some(pid) = pid
        && let Err(error) = rustix::process::kill_process(pid, rustix::process::Signal::TERM)
    {
        tracing::debug!(%error, ?pid, "SIGTERM");
    }
}
