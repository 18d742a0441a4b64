//! `postern status` and `postern down`.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use postern_dataplane::host::{self, Lingering};

use crate::cli::Output;
use crate::control::client::Client;
use crate::control::{Reply, Request};
use crate::paths::StateDir;

/// How long a region may take to end.
const DOWN_PATIENCE: Duration = Duration::from_secs(30);

/// Says how the region is.
pub fn run(state_dir: &StateDir, output: Output) -> anyhow::Result<ExitCode> {
    let client = match (Client::connect(state_dir), host::look(&state_dir.keeper_socket())) {
        (Ok(client), _) => client,
        (Err(_), Some(lingering)) => return Ok(say_lingering(&lingering, output)),
        (Err(error), None) => return Err(error),
    };
    let Reply::Status(status) = client.ask(&Request::Status, &[])? else {
        bail!("the region gave an answer to another question");
    };
    match output {
        Output::Json => println!("{}", serde_json::to_string_pretty(&status)?),
        Output::Text => {
            println!("region    {} (Postern {}, process {})", status.region, status.version, status.pid);
            println!("API       {}", status.url);
            println!("packets   {}", status.packets);
            println!("uplink    {}", status.uplink.as_deref().unwrap_or("none: nothing leaves the region"));
            match status.linger {
                0 => println!("if killed everything ends with it"),
                seconds => println!("if killed instances and known connections go on for {seconds} s"),
            }
            println!("revision  {}", status.revision);
            for (what, count) in &status.counts {
                println!("{what:<9} {count}");
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Says what a killed region has left.
fn say_lingering(lingering: &Lingering, output: Output) -> ExitCode {
    let Lingering { process, left, instances } = lingering;
    let seconds = left.as_secs_f64().ceil();
    match output {
        Output::Json => {
            let left = serde_json::json!({ "pid": process, "instances": instances, "seconds_left": seconds });
            println!("{:#}", serde_json::json!({ "lingering": left }));
        }
        Output::Text => {
            println!("the region has ended without being told to");
            println!(
                "{instances} instances and their known connections go on for {seconds} s (process {process}): \
                 `postern up` goes on with them, `postern down` ends them"
            );
        }
    }
    ExitCode::FAILURE
}

/// Stops the region, or what a killed one has left, and waits until it is gone.
pub fn down(state_dir: &StateDir) -> anyhow::Result<ExitCode> {
    let client = match Client::connect(state_dir) {
        Ok(client) => client,
        Err(error) => match host::end(&state_dir.keeper_socket()) {
            Ok(true) => return Ok(ExitCode::SUCCESS),
            Ok(false) => return Err(error),
            Err(cause) => return Err(cause).context("what the killed region left does not end"),
        },
    };
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
