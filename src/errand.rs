//! What a signature is for, told along with it to whoever may have to trouble a person on its behalf.
//!
//! A token that wants its PIN or a touch knows nothing of clients; with the errand its question can say what for, and open where the person
//! sits who waits for the answer.

use crate::origin::peer::ProcessId;

/// What a request is for, and who waits for it.
#[derive(Debug, Clone, Default)]
pub struct Errand {
    /// A phrase fit to be shown, such as `log in as "git" at github.com`; empty when there is nothing to say.
    pub purpose: String,
    /// The process that asks; none when it is not known, or when the agent acts on its own.
    pub asker: Option<ProcessId>,
    /// Whether it asks for itself; decides what may be read from its terminal.
    pub sake: Sake,
    /// What the key's device is to demand of the person.
    pub demands: Demands,
}

/// What a key's device demands of the person before it signs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Demands {
    /// A touch.
    pub touch: bool,
    /// The PIN, typed for this signature, whatever was typed before.
    pub pin: bool,
}

/// For whose sake a process asks. A program that passes on what others ask may read its terminal all the while, and would pass on what a
/// person types into a question there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Sake {
    /// For its own: it waits for the answer and reads nothing meanwhile.
    Own,
    /// Not known.
    Unknown,
    /// It passes on the request of another.
    #[default]
    Others,
}
