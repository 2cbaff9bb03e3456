//! One virtual worker: the folder that is its disk, and the processes that run on it.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Read as _, Seek as _};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use serde::Serialize;
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::net::unix::pipe;

use super::user_data::{self, Kind};
use crate::config::WorkersConfig;
use crate::process_group::{Process, ProcessGroup};
use crate::state::ec2::console::KEPT;
use crate::state::ec2::instance::Instance;

/// `$1` is the agent, or empty. User data gets a head start, as it may configure the agent; the agent is kept running, as
/// systemd would. The programs are copied here, where no other thread can have them open for writing.
const BOOT: &str = r#"
carry_out() {
    for part in "var/lib/cloud/$1"/*; do
        [ -f "$part" ] || continue
        cat "$part" >"$part.run" && chmod 700 "$part.run"
        "./$part.run"
    done
}
for shim in shutdown poweroff halt reboot systemctl sudo; do
    cat lib/shim >"sbin/$shim" && chmod 700 "sbin/$shim"
done
carry_out boothooks
if [ -d var/lib/cloud/scripts ]; then
    carry_out scripts &
    script=$!
    tenths=0
    while kill -0 "$script" 2>/dev/null && [ "$tenths" -lt 50 ]; do
        sleep 0.1
        tenths=$((tenths + 1))
    done
fi
while [ -n "$1" ]; do
    "$1" --config "$ROOT/etc/muster-agent/agent.toml" run
    sleep 1
done
wait
"#;

/// Comes on PATH before the programs that would shut down the host of the sandbox.
const SHIM: &str = include_str!("shim.sh");
/// The pipe on which the shim tells of a shutdown.
const INITCTL: &str = "run/initctl";

const USUAL_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// More output of a command is cut.
const OUTPUT_LIMIT: u64 = 64 * 1024;

#[derive(Debug)]
pub(crate) struct Worker {
    group: ProcessGroup,
    environment: Vec<(String, String)>,
    pub(super) metadata: SocketAddr,
    _boot: Process,
}

/// How a command in a worker ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct WorkerOutput {
    /// `None`: a signal ended it.
    pub exit_code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

#[derive(Debug, thiserror::Error)]
pub enum WorkerError {
    #[error("{0} is not a running worker: it has not started, has ended, or the sandbox was started without workers")]
    NotRunning(String),
    #[error("the command could not be run")]
    Run(#[from] io::Error),
    #[error("the command took longer than {0:?} and was killed")]
    TimedOut(Duration),
}

impl Worker {
    /// Makes the folder and starts the processes. Blocks for some milliseconds.
    pub(crate) fn start(
        config: &WorkersConfig,
        instance: &Instance,
        files: &BTreeMap<String, String>,
        endpoint: &str,
        metadata: SocketAddr,
    ) -> io::Result<Self> {
        let group = ProcessGroup::new(&format!("muster-worker-{}", instance.id))?;
        let folder = group.folder().to_owned();
        let root = folder.display().to_string();
        lay_out(&folder, &root, config, instance)?;
        for (path, text) in files {
            lay(&folder, path, &text.replace("$ROOT", &root))?;
        }
        let environment = environment(config, instance, &root, endpoint, metadata);
        let agent = config.agent.as_deref().unwrap_or(Path::new(""));
        let mut boot = std::process::Command::new("sh");
        boot.args(["-c", BOOT, "boot"]).arg(agent).current_dir(&folder).env_clear().envs(environment.clone());
        let boot = group.spawn(boot, &folder.join("console.log"))?;
        Ok(Self { group, environment, metadata, _boot: boot })
    }

    pub(crate) fn folder(&self) -> &Path {
        self.group.folder()
    }

    /// Returns once something on the worker has shut it down.
    pub(crate) async fn until_shut_down(folder: PathBuf) -> io::Result<()> {
        // Open for writing too, so that it does not end whenever a writer does.
        let mut pipe = pipe::OpenOptions::new().read_write(true).open_receiver(folder.join(INITCTL))?;
        pipe.read_u8().await.map(|_| ())
    }

    /// What it has printed so far, the end of it.
    pub(crate) fn console(&self) -> io::Result<Vec<u8>> {
        let mut log = fs::File::open(self.folder().join("console.log"))?;
        let from = log.metadata()?.len().saturating_sub(KEPT as u64);
        log.seek(io::SeekFrom::Start(from))?;
        let mut text = Vec::new();
        log.read_to_end(&mut text)?;
        Ok(text)
    }

    /// Runs a shell command as the worker's root would.
    pub(crate) fn command(&self, command: &str) -> WorkerCommand {
        WorkerCommand {
            line: command.to_owned(),
            folder: self.folder().to_owned(),
            environment: self.environment.clone(),
            group: self.group.id(),
        }
    }
}

/// A command that is ready to run, apart from the worker, which may end meanwhile and takes it along.
pub(crate) struct WorkerCommand {
    line: String,
    folder: PathBuf,
    environment: Vec<(String, String)>,
    group: i32,
}

impl WorkerCommand {
    pub(crate) async fn run(self, timeout: Duration) -> Result<WorkerOutput, WorkerError> {
        let mut child = tokio::process::Command::new("sh")
            .args(["-c", &self.line])
            .current_dir(self.folder)
            .env_clear()
            .envs(self.environment)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(self.group)
            .kill_on_drop(true)
            .spawn()?;
        let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
        let ended = async { tokio::try_join!(child.wait(), text(stdout), text(stderr)) };
        let (status, stdout, stderr) =
            tokio::time::timeout(timeout, ended).await.map_err(|_| WorkerError::TimedOut(timeout))??;
        Ok(WorkerOutput { exit_code: status.code(), stdout, stderr })
    }
}

/// Reads to the end, so that the command is not held up, and keeps the beginning.
async fn text(pipe: Option<impl AsyncRead + Unpin>) -> io::Result<String> {
    let Some(mut pipe) = pipe else { return Ok(String::new()) };
    let mut kept = Vec::new();
    (&mut pipe).take(OUTPUT_LIMIT).read_to_end(&mut kept).await?;
    tokio::io::copy(&mut pipe, &mut tokio::io::sink()).await?;
    Ok(String::from_utf8_lossy(&kept).into_owned())
}

fn lay_out(folder: &Path, root: &str, config: &WorkersConfig, instance: &Instance) -> io::Result<()> {
    // The worker boots now: the agent reads the boot time here.
    fs::create_dir(folder.join("proc"))?;
    let booted = instance.running_since.unwrap_or(instance.launch_time).as_second();
    fs::write(folder.join("proc/stat"), format!("btime {booted}\n"))?;
    fs::create_dir_all(folder.join("etc/muster-agent"))?;
    for place in ["lib", "run", "sbin"] {
        fs::create_dir(folder.join(place))?;
    }
    fs::write(folder.join("lib/shim"), SHIM)?;
    nix::unistd::mkfifo(&folder.join(INITCTL), nix::sys::stat::Mode::S_IRWXU)?;
    if let Some(text) = &config.agent_config {
        fs::write(folder.join("etc/muster-agent/agent.toml"), text.replace("$ROOT", root))?;
    }
    if let Some(user_data) = instance.decoded_user_data().filter(|_| config.user_data) {
        for (index, part) in user_data::parts(&user_data).iter().enumerate() {
            let kind = match part.kind {
                Kind::Boothook => "boothooks",
                // As cloud-init, which remembers that it has run them.
                Kind::Script if instance.restarts == 0 => "scripts",
                Kind::Script => continue,
                Kind::Other => "not-carried-out",
            };
            let place = folder.join("var/lib/cloud").join(kind);
            fs::create_dir_all(&place)?;
            fs::write(place.join(format!("part-{:03}", index + 1)), &part.body)?;
        }
        fs::write(folder.join("user-data"), user_data)?;
    }
    Ok(())
}

/// Writes a file of the image.
fn lay(folder: &Path, path: &str, text: &str) -> io::Result<()> {
    let path = Path::new(path.trim_start_matches('/'));
    if !path.components().all(|part| matches!(part, std::path::Component::Normal(_))) {
        return Err(io::Error::other(format!("{} is no path on a disk", path.display())));
    }
    let place = folder.join(path);
    place.parent().map_or(Ok(()), fs::create_dir_all)?;
    fs::write(place, text)
}

fn environment(
    config: &WorkersConfig,
    instance: &Instance,
    root: &str,
    endpoint: &str,
    metadata: SocketAddr,
) -> Vec<(String, String)> {
    let path = config.path.as_deref().unwrap_or(USUAL_PATH);
    [
        ("AWS_DEFAULT_REGION", instance.region.clone()),
        ("AWS_REGION", instance.region.clone()),
        ("AWS_ENDPOINT_URL", endpoint.to_owned()),
        ("AWS_EC2_METADATA_SERVICE_ENDPOINT", format!("http://{metadata}")),
        ("HOME", root.to_owned()),
        ("LANG", "C.UTF-8".to_owned()),
        ("INSTANCE_ID", instance.id.clone()),
        ("PATH", format!("{root}/sbin:{path}")),
        ("ROOT", root.to_owned()),
    ]
    .into_iter()
    .map(|(name, value)| (name.to_owned(), value))
    .collect()
}
