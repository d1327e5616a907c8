//! `hardkey prompts`: the agent's questions, answered in this terminal.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use rustix::process::Signal;
use serde::de::DeserializeOwned;
use tokio::signal::unix::{Signal as Signals, SignalKind, signal};
use tokio::sync::{oneshot, watch};

use super::client::{self, Found, Line, Silence};
use crate::consent::Kind;
use crate::consent::board::{Question, Showing};
use crate::consent::viewer::Terminal;
use crate::protocol::prompts::{Answer, NAME, Prompts};
use crate::text::printable;

/// An agent that takes longer to take an answer is stuck.
const PROMPTLY: Duration = Duration::from_secs(5);

#[derive(Args)]
pub(super) struct Arguments {
    /// List the questions that wait, and answer none
    #[arg(long)]
    list: bool,
    /// List them as JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(arguments: &Arguments) -> Result<ExitCode, String> {
    if arguments.list || arguments.json {
        return list(arguments.json);
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(|error| format!("cannot start: {error}"))?.block_on(attend())
}

fn list(json: bool) -> Result<ExitCode, String> {
    let questions: Vec<Question> = Agent::find(&Prompts::List)?.1;
    let text = match (json, questions.is_empty()) {
        (true, _) => serde_json::to_string_pretty(&questions).map_err(|error| error.to_string())? + "\n",
        (false, true) => "no questions\n".to_owned(),
        (false, false) => questions.iter().map(entry).collect::<Vec<_>>().join("\n"),
    };
    super::print(&text)
}

fn entry(question: &Question) -> String {
    let kind = match question.kind {
        Kind::Confirm => "question",
        Kind::Secret => "question for a PIN",
    };
    format!("-- {kind}, waits for {} s --\n{}\n", question.seconds, printable(&question.text))
}

/// An agent that answers.
struct Agent {
    socket: PathBuf,
    line: Line,
}

impl Agent {
    /// The running agent, with its answer.
    fn find<T: DeserializeOwned>(request: &Prompts) -> Result<(Self, T), String> {
        let Found { socket, line, answer } = client::find_running(NAME, &request.encode())?;
        Ok((Self { socket, line }, parse(&answer)?))
    }

    fn ask<T: DeserializeOwned>(&self, request: &Prompts) -> Result<T, String> {
        self.line.ask(NAME, &request.encode()).map_err(|silence| self.lost(silence)).and_then(|answer| parse(&answer))
    }

    fn lost(&self, silence: Silence) -> String {
        match silence {
            Silence::Unreachable(_) => format!("the agent at {} has ended", self.socket.display()),
            other => other.at(&self.socket),
        }
    }

    /// Asks for what there is to show, again and again, until the agent is gone: the first value is that end.
    fn follow(self, first: Showing) -> (oneshot::Receiver<String>, watch::Receiver<Showing>) {
        let (sender, news) = watch::channel(first);
        let (ended, end) = oneshot::channel();
        // A thread, which waits in a read and ends with the process.
        std::thread::spawn(move || {
            let error = loop {
                let seen = sender.borrow().version;
                match self.ask(&Prompts::Watch { seen }) {
                    Ok(next) => drop(sender.send_replace(next)),
                    Err(error) => break error,
                }
            };
            // Nobody wants to know when the process is about to end.
            let _ = ended.send(error);
        });
        (end, news)
    }
}

fn parse<T: DeserializeOwned>(answer: &[u8]) -> Result<T, String> {
    serde_json::from_slice(answer).map_err(|error| format!("the agent's answer: {error}"))
}

/// What happens next.
enum Event {
    News,
    Answered(u64, Answer),
    Stop,
    End,
}

/// Shows questions as they come, until the person has had enough.
async fn attend() -> Result<ExitCode, String> {
    let cannot = |error: std::io::Error| format!("cannot start: {error}");
    // PINs are typed here.
    let no_core = rustix::process::Rlimit { current: Some(0), maximum: Some(0) };
    rustix::process::setrlimit(rustix::process::Resource::Core, no_core).map_err(|error| cannot(error.into()))?;
    let kinds = [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()];
    let [mut interrupt, mut terminate, mut hang_up] = register(kinds).map_err(cannot)?;
    let [mut stop] = register([SignalKind::from_raw(Signal::TSTP.as_raw())]).map_err(cannot)?;
    let mut terminal = Terminal::own()?;
    let (agent, first) = Agent::find::<Showing>(&Prompts::Watch { seen: 0 })?;
    let socket = agent.socket.clone();
    is_own(&agent.line, &socket)?;
    terminal.say(&format!("Questions of the agent at {} appear here. Ctrl-C leaves.", socket.display()))?;
    let (mut ended, mut news) = agent.follow(first);
    let mut answered = 0;
    loop {
        let showing = news.borrow_and_update().clone();
        // What has just been answered is still to be taken away by the agent.
        let question = showing.question.as_ref().filter(|question| question.number != answered);
        let following = news.clone();
        let event = tokio::select! {
            biased;
            _ = interrupt.recv() => Event::End,
            _ = terminate.recv() => Event::End,
            _ = hang_up.recv() => Event::End,
            _ = stop.recv() => Event::Stop,
            error = &mut ended => return Err(error.unwrap_or_else(|_| "the agent is not followed any more".to_owned())),
            _ = news.wait_for(|next| is_news(next, &showing)) => Event::News,
            answer = ask(&terminal, question, &showing, following) => answer?,
        };
        match event {
            Event::News => {}
            Event::Answered(number, answer) => {
                answered = number;
                let said = said(&answer);
                let in_time = deliver(&socket, &Prompts::Answer { number, answer })?;
                terminal.say(if in_time {
                    said
                } else {
                    "hardkey: too late: it was answered elsewhere or withdrawn"
                })?;
            }
            Event::Stop => {
                drop(terminal);
                // Here the process stands until it is continued.
                let _ = rustix::process::kill_process(rustix::process::getpid(), Signal::STOP);
                terminal = Terminal::own()?;
            }
            Event::End => return Ok(ExitCode::SUCCESS),
        }
    }
}

fn register<const N: usize>(kinds: [SignalKind; N]) -> std::io::Result<[Signals; N]> {
    let signals: Vec<Signals> = kinds.into_iter().map(signal).collect::<Result<_, _>>()?;
    signals.try_into().map_err(|_| std::io::ErrorKind::Other.into())
}

fn is_news(next: &Showing, showing: &Showing) -> bool {
    let number = |showing: &Showing| showing.question.as_ref().map(|question| question.number);
    number(next) != number(showing) || next.notices != showing.notices
}

/// Asks the question, else shows the latest notice.
async fn ask(
    terminal: &Terminal,
    question: Option<&Question>,
    showing: &Showing,
    news: watch::Receiver<Showing>,
) -> Result<Event, String> {
    if let Some(question) = question {
        let answer = terminal.ask(question, news).await?;
        return Ok(Event::Answered(question.number, answer));
    }
    let _shown = showing.notices.last().and_then(|notice| terminal.notice(notice));
    std::future::pending().await
}

/// Passes an answer on; whether the question was still open. On a line of its own, for on the other one the agent has been asked something already.
fn deliver(socket: &Path, answer: &Prompts) -> Result<bool, String> {
    let line = Line::open(socket).map_err(|silence| silence.at(socket))?;
    is_own(&line, socket)?;
    line.stream().set_read_timeout(Some(PROMPTLY)).map_err(|error| error.to_string())?;
    let answer = line.ask(NAME, &answer.encode()).map_err(|silence| silence.at(socket))?;
    parse(&answer)
}

/// A PIN may be about to be typed for whoever listens there.
fn is_own(line: &Line, socket: &Path) -> Result<(), String> {
    let peer = rustix::net::sockopt::socket_peercred(line.stream());
    match peer.is_ok_and(|peer| peer.uid == rustix::process::getuid()) {
        true => Ok(()),
        false => Err(format!("{}: the agent there is another user's", socket.display())),
    }
}

const fn said(answer: &Answer) -> &'static str {
    match answer {
        Answer::Allow => "hardkey: allowed",
        Answer::AllowLonger => "hardkey: allowed for a while; hardkey approvals shows it",
        Answer::Deny => "hardkey: denied",
        Answer::Mute => "hardkey: denied, and so are the next from there for ten minutes",
        Answer::Pin(_) => "hardkey: the PIN was passed on",
    }
}
