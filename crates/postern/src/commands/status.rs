//! `postern status` and `postern down`.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::bail;

use crate::cli::Output;
use crate::control::client::Client;
use crate::control::{Reply, Request};
use crate::paths::StateDir;

/// How long a region may take to end.
const DOWN_PATIENCE: Duration = Duration::from_secs(30);

/// Says how the region is.
pub fn run(state_dir: &StateDir, output: Output) -> anyhow::Result<ExitCode> {
    let Reply::Status(status) = Client::connect(state_dir)?.ask(&Request::Status, &[])? else {
        bail!("the region gave an answer to another question");
    };
    match output {
        Output::Json => println!("{}", serde_json::to_string_pretty(&status)?),
        Output::Text => {
            println!("region    {} (Postern {}, process {})", status.region, status.version, status.pid);
            println!("API       {}", status.url);
            println!("packets   {}", status.packets);
            println!("uplink    {}", status.uplink.as_deref().unwrap_or("none: nothing leaves the region"));
            println!("revision  {}", status.revision);
            for (what, count) in &status.counts {
                println!("{what:<9} {count}");
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Stops the region and waits until it is gone.
pub fn down(state_dir: &StateDir) -> anyhow::Result<ExitCode> {
    let client = Client::connect(state_dir)?;
    client.ask(&Request::Down, &[])?;
    let deadline = Instant::now() + DOWN_PATIENCE;
    // The socket closes when the process has ended, with everything that it made.
    while client.next().is_ok_and(|reply| reply.is_some()) {}
    while Client::connect(state_dir).is_ok() {
        if Instant::now() > deadline {
            bail!("the region has not ended after {} s", DOWN_PATIENCE.as_secs());
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    Ok(ExitCode::SUCCESS)
}
