//! The firmware that answers commands, on a thread of its own.

mod older;
mod opensk;
mod solo;

use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};
use std::thread;

use crate::button::Button;

/// The largest stack that the firmware's call chains were seen to need is a megabyte, without optimisation.
const STACK: usize = 16 << 20;

pub use opensk::{Memory, OpenSk};
pub(crate) use solo::Solo;

/// Whose firmware a key has, and what distinguishes it from the next.
#[derive(Clone, Debug)]
pub(crate) enum Model {
    /// That of Solo 2 and Nitrokey 3.
    Solo(Solo),
    /// OpenSK.
    OpenSk(OpenSk),
}

/// A command for the firmware.
#[derive(Debug)]
pub(crate) enum Call {
    /// A CBOR message of CTAP2.
    Cbor(u64, Vec<u8>),
    /// An APDU of U2F.
    Msg(u64, Vec<u8>),
    /// Off and on again: volatile memory is lost.
    PowerCycle,
}

/// Starts the firmware. It ends when the sender that is returned goes away; `answer` gets the number of each call with its answer, or `None` if
/// the firmware died of it.
pub(crate) fn start(
    model: Model,
    button: Arc<Button>,
    answer: impl Fn(u64, Option<Vec<u8>>) + Send + 'static,
) -> Sender<Call> {
    let (sender, calls) = channel();
    thread::Builder::new()
        .name("firmware".into())
        .stack_size(STACK)
        .spawn(move || match model {
            Model::Solo(model) => solo::run(&model, &button, &calls, &answer),
            Model::OpenSk(model) => opensk::run(&model, &button, &calls, &answer),
        })
        .expect("start a thread");
    sender
}
