//! Asking people: the queue of questions, and the programs and places that show them.
//!
//! One dialog at a time on each screen; the others wait and vanish with their cause. Only an explicit yes is a yes: a dialog that cannot be
//! shown, times out, crashes or answers nonsense is a no. Never sees a key or a token.

pub mod approvals;
mod askpass;
mod assuan;
pub mod board;
pub(crate) mod bus;
pub mod dialog;
mod front;
mod group;
pub mod minder;
mod notice;
mod notification;
mod patience;
mod pinentry;
mod queue;
mod seat;
mod terminal;
mod view;
pub mod viewer;

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use crate::backend::BoxFuture;
use crate::backend::pin::{Pin, PinError, PinPrompt, PinQuestion, TriesLeft};
use crate::clock;
use crate::errand::{Errand, Sake};
use crate::field::{field, quoted};
use board::{Board, Posting};
use dialog::Source;
pub use dialog::{Allowed, Dialog};
pub use front::Kind;
use front::{Choice, Programs};
use patience::Patience;
use queue::Queue;
use seat::{Own, Seat};
use view::{ARMED_AFTER, Broken, Reply, View};

/// How long a dialog stays open when the configuration does not say.
pub const DIALOG_TIMEOUT: Duration = Duration::from_secs(60);
/// A yes that comes too fast this often comes from no person.
const MOST_SLIPS: usize = 3;

/// How people are asked.
pub struct Consent {
    programs: Programs,
    own: Own,
    timeout: Duration,
    queue: Queue,
    patience: Patience,
    board: Board,
}

/// Why something was not allowed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The person said no, or closed the dialog.
    #[error("declined in the dialog")]
    Declined,
    /// Nobody answered in time.
    #[error("nobody answered the dialog within {} s", .0.as_secs())]
    TimedOut(Duration),
    /// No dialog could be shown.
    #[error("no dialog can be shown: {0}")]
    NoDialog(String),
    /// The person has had enough of this source; for so long it is not shown.
    #[error("it comes from where the last requests were denied, and is not shown; ask again in {} s", .0.as_secs())]
    Muted(Duration),
    /// The queue is full.
    #[error("too many questions wait already; answer or deny them first")]
    TooMany,
    /// Each yes came before anybody could have read the question.
    #[error("the dialog said yes {MOST_SLIPS} times within {} ms, so no person did", ARMED_AFTER.as_millis())]
    TooFast,
}

/// What the environment at the agent's start says about dialogs. Screens and terminals are looked for again at each question.
#[derive(Debug, Clone, Default)]
pub struct Surroundings {
    /// `$SSH_ASKPASS`
    pub askpass: Option<OsString>,
    /// `$SSH_ASKPASS_REQUIRE`
    pub askpass_require: Option<OsString>,
    own: Own,
}

impl Surroundings {
    /// Reads them.
    pub fn read() -> Self {
        let set = |name| std::env::var_os(name).filter(|value| !value.is_empty());
        Self { askpass: set("SSH_ASKPASS"), askpass_require: set("SSH_ASKPASS_REQUIRE"), own: Own::read() }
    }
}

impl Consent {
    /// With the programs that the user named.
    pub fn new(surroundings: &Surroundings, pinentry: Option<PathBuf>, timeout: Duration) -> Self {
        Self {
            programs: Programs::new(surroundings, pinentry),
            own: surroundings.own.clone(),
            timeout,
            queue: Queue::default(),
            patience: Patience::default(),
            board: Board::default(),
        }
    }

    /// What viewers see and answer.
    pub const fn board(&self) -> &Board {
        &self.board
    }

    /// Whether there is any way to ask about a request of this errand.
    pub async fn can_ask(&self, errand: &Errand) -> bool {
        self.board.has_viewers()
            || !self.programs.choose(&Seat::find(errand, &self.own).await, Kind::Confirm).is_empty()
    }

    /// Asks whether something may be done. Dropping the future closes the dialog.
    ///
    /// # Errors
    /// Anything but an explicit yes.
    pub async fn ask(&self, dialog: &Dialog) -> Result<Allowed, Refusal> {
        let source = dialog.source.as_ref();
        self.patience.check(source, clock::now())?;
        let _place = self.queue.enter(source)?;
        let view = View {
            text: dialog.text.clone(),
            offer: dialog.offer.as_ref().map(|offer| offer.label.clone()),
            can_mute: source.is_some(),
        };
        let mut posting = self.board.ask(&view, source);
        match self.anywhere(&Question::Confirm(&view, source), &dialog.errand, &mut posting).await? {
            Answer::Reply(Reply::Allow(allowed)) => {
                self.patience.allowed(source);
                return Ok(allowed);
            }
            Answer::Reply(Reply::Mute) => self.patience.mute(source, clock::now()),
            Answer::Reply(Reply::Deny) | Answer::Secret(_) => self.patience.denied(source, clock::now()),
        }
        // Before viewers are shown the next one.
        self.board.silence(|source| self.patience.check(Some(source), clock::now()).err());
        Err(Refusal::Declined)
    }

    async fn pin(&self, question: &PinQuestion) -> Result<Pin, PinError> {
        let token = question.token.clone();
        let answer = async {
            let _place = self.queue.enter(None)?;
            if question.tries == TriesLeft::Final {
                self.final_try(question).await?;
            }
            let text = pin_text(question);
            let mut posting = self.board.ask_pin(&text);
            self.anywhere(&Question::Secret(&text), &question.errand, &mut posting).await
        };
        match answer.await {
            Ok(Answer::Secret(Some(pin))) => Ok(pin),
            Ok(_) | Err(Refusal::Declined) => Err(PinError::Cancelled { token }),
            Err(refusal) => Err(PinError::NoPrompt { token, reason: refusal.to_string() }),
        }
    }

    /// Asks on a screen and on the board at the same time. The first answer counts, and takes the question from everywhere else; so does the end
    /// of its time at one of them.
    async fn anywhere(
        &self,
        question: &Question<'_>,
        errand: &Errand,
        posting: &mut Posting,
    ) -> Result<Answer, Refusal> {
        let on_screens = async {
            match self.on_screens(question, errand).await {
                // Whoever looks at the board may still answer.
                Err(Refusal::NoDialog(why)) if self.board.has_viewers() => {
                    self.board.deserted().await;
                    Err(Refusal::NoDialog(format!("{why}; and nobody runs hardkey prompts any more")))
                }
                other => other,
            }
        };
        tokio::select! {
            biased;
            answer = posting.answer(self.timeout) => answer,
            answer = on_screens => answer,
        }
    }

    /// Has the person decide on the final try before there is a field to type into: whoever types a PIN many times a day reads no warnings beside it.
    async fn final_try(&self, question: &PinQuestion) -> Result<(), Refusal> {
        let view = View { text: final_try_text(question), offer: None, can_mute: false };
        let mut posting = self.board.ask(&view, None);
        match self.anywhere(&Question::Confirm(&view, None), &question.errand, &mut posting).await? {
            Answer::Reply(Reply::Allow(_)) => Ok(()),
            Answer::Reply(Reply::Deny | Reply::Mute) | Answer::Secret(_) => Err(Refusal::Declined),
        }
    }

    /// Asks at the first place where that works.
    async fn on_screens(&self, question: &Question<'_>, errand: &Errand) -> Result<Answer, Refusal> {
        let seat = Seat::find(errand, &self.own).await;
        let mut reasons = Vec::new();
        for choice in self.programs.choose(&seat, question.kind()) {
            let _turn = self.queue.turn(&choice.screen).await;
            if let Question::Confirm(_, source) = question {
                // Others of the same source may have been denied while this one waited.
                self.patience.check(*source, clock::now())?;
            }
            match self.show(&choice, question).await {
                Ok(answer) => return Ok(answer),
                Err(Failure::Refused(refusal)) => return Err(refusal),
                Err(Failure::Broken(Broken(reason))) => {
                    tracing::warn!("a dialog could not be shown: {reason}");
                    reasons.push(reason);
                }
            }
        }
        match reasons.is_empty() {
            true => {
                let why = self.programs.why_none(&seat);
                Err(Refusal::NoDialog(format!("{why}; run hardkey prompts in a terminal to be asked there")))
            }
            false => Err(Refusal::NoDialog(reasons.join("; "))),
        }
    }

    async fn show(&self, choice: &Choice, question: &Question<'_>) -> Result<Answer, Failure> {
        let answer = async {
            match question {
                Question::Confirm(view, _) => self.confirm(choice, view).await.map(Answer::Reply),
                Question::Secret(text) => Ok(Answer::Secret(choice.front.secret(text, self.timeout).await?)),
            }
        };
        // From here, because only now somebody can see it.
        let answer = tokio::time::timeout(self.timeout, answer).await;
        answer.unwrap_or(Err(Failure::Refused(Refusal::TimedOut(self.timeout))))
    }

    /// Shows a dialog, again if the answer cannot be meant.
    async fn confirm(&self, choice: &Choice, view: &View) -> Result<Reply, Failure> {
        let mut view = view.clone();
        for slip in 0..MOST_SLIPS {
            if slip == 1 {
                view.text += "\n(Shown again: the first yes came faster than anybody reads.)";
            }
            let (reply, shown) = choice.front.confirm(&view, self.timeout).await?;
            if !matches!(reply, Reply::Allow(_)) || !choice.may_slip || shown.elapsed() >= ARMED_AFTER {
                return Ok(reply);
            }
            tracing::info!("a yes within {} ms is taken for a slip; asking again", ARMED_AFTER.as_millis());
        }
        Err(Failure::Refused(Refusal::TooFast))
    }
}

impl PinPrompt for Consent {
    fn ask(&self, question: PinQuestion) -> BoxFuture<'_, Result<Pin, PinError>> {
        Box::pin(async move { self.pin(&question).await })
    }
}

enum Question<'a> {
    Confirm(&'a View, Option<&'a Source>),
    Secret(&'a str),
}

enum Answer {
    Reply(Reply),
    /// None when the person gave none.
    Secret(Option<Pin>),
}

/// Why there is no answer from one place.
enum Failure {
    /// Another place may work.
    Broken(Broken),
    Refused(Refusal),
}

impl From<Broken> for Failure {
    fn from(broken: Broken) -> Self {
        Self::Broken(broken)
    }
}

impl Question<'_> {
    const fn kind(&self) -> Kind {
        match self {
            Self::Confirm(..) => Kind::Confirm,
            Self::Secret(_) => Kind::Secret,
        }
    }
}

fn final_try_text(question: &PinQuestion) -> String {
    let text = format!(
        "FINAL PIN TRY\nA wrong PIN now locks token {}. A smartcard then needs its PUK; a security key can only be erased, with every key on it.\n\
         Try the PIN, {}with key {}?",
        token(question),
        purpose(question),
        quoted(question.key.as_bytes())
    );
    text + whose(question)
}

fn pin_text(question: &PinQuestion) -> String {
    let (token, purpose, key) = (token(question), purpose(question), quoted(question.key.as_bytes()));
    let mut text = format!("Enter the PIN of token {token},\n{purpose}with key {key}.");
    text += whose(question);
    if question.after_refusal {
        text += "\nThe last PIN was wrong.";
    }
    match question.tries {
        TriesLeft::Final => text += "\nThis is the final try: a wrong PIN locks the token.",
        TriesLeft::Low => text += "\nFew tries are left.",
        TriesLeft::Left(tries) => text += &format!("\n{tries} tries are left."),
        TriesLeft::Locked | TriesLeft::NoWarning => {}
    }
    text
}

fn token(question: &PinQuestion) -> String {
    let name = quoted(question.token.as_bytes());
    match question.serial.is_empty() {
        true => name,
        false => format!("{name} (serial {})", field(question.serial.as_bytes())),
    }
}

fn purpose(question: &PinQuestion) -> String {
    let purpose = &question.errand.purpose;
    if purpose.is_empty() { String::new() } else { format!("to {purpose}, ") }
}

/// A line that says whom it is for, if that is not certain to be the user. What the agent asks on its own account comes from nobody.
fn whose(question: &PinQuestion) -> &'static str {
    match question.errand.asker.map(|_| question.errand.sake) {
        Some(Sake::Others) => "\nThis was asked for by a host that the agent is forwarded to.",
        Some(Sake::Unknown) => "\nWhere this comes from is not certain; it may be from elsewhere.",
        Some(Sake::Own) | None => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::origin::peer::ProcessId;

    fn question(sake: Sake, tries: TriesLeft) -> PinQuestion {
        let purpose = "log in as \"root\" at hostb".to_owned();
        let asker = Some(ProcessId { pid: 1, start: 1 });
        PinQuestion {
            token: "work\n<b>".to_owned(),
            serial: "12".to_owned(),
            key: "key".to_owned(),
            tries,
            after_refusal: false,
            errand: Errand { purpose, asker, sake, ..Errand::default() },
        }
    }

    #[test]
    fn a_question_for_a_pin_says_what_for_and_who_asks_if_that_is_not_the_user() {
        let own = "Enter the PIN of token \"work\\x0a\\x3cb\\x3e\" (serial 12),\nto log in as \"root\" at hostb, with key \"key\".";
        assert_eq!(pin_text(&question(Sake::Own, TriesLeft::NoWarning)), own);
        let forwarded = pin_text(&question(Sake::Others, TriesLeft::Final));
        assert!(
            forwarded.contains("\nThis was asked for by a host that the agent is forwarded to.\nThis is the final try")
        );
        assert!(
            pin_text(&question(Sake::Unknown, TriesLeft::Low)).contains("may be from elsewhere.\nFew tries are left.")
        );
        let evil =
            PinQuestion { serial: "1\nAll is well.\n<b>".to_owned(), ..question(Sake::Others, TriesLeft::Final) };
        for text in [final_try_text(&evil), pin_text(&evil)] {
            assert!(text.contains("\"work\\x0a\\x3cb\\x3e\" (serial 1\\x0aAll is well.\\x0a\\x3cb\\x3e)"), "{text}");
            assert!(text.contains("to log in as \"root\" at hostb, with key \"key\""), "{text}");
            assert!(text.contains("\nThis was asked for by a host that the agent is forwarded to."), "{text}");
        }
        let nobody = PinQuestion { errand: Errand::default(), ..question(Sake::Own, TriesLeft::NoWarning) };
        assert_eq!(pin_text(&nobody).lines().count(), 2, "what the agent asks on its own account comes from nobody");
    }
}
