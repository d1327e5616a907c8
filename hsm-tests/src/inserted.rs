//! Smartcards as kinds of tokens: each in a reader of its own, through OpenSC.

use crate::card::{Card, Reader};
use crate::home::Home;
use crate::kind::TokenKind;
use crate::module::Module;

/// A card and its reader.
pub struct Inserted {
    card: Card,
    reader: Reader,
}

impl Inserted {
    /// A PIV card.
    #[must_use]
    pub fn piv(home: &Home) -> Self {
        Self::new(home, |reader| reader.piv("card"))
    }

    /// An OpenPGP card.
    #[must_use]
    pub fn openpgp(home: &Home) -> Self {
        Self::new(home, |reader| reader.openpgp("card"))
    }

    fn new(home: &Home, make: impl FnOnce(&Reader) -> Card) -> Self {
        let reader = Reader::new(home);
        let mut card = make(&reader);
        card.insert();
        Self { card, reader }
    }
}

impl TokenKind for Inserted {
    fn module(&self) -> Module {
        self.reader.opensc()
    }

    fn pin(&self) -> &'static str {
        self.card.pin()
    }

    fn hold(&mut self) {
        self.card.hold();
    }

    fn remove(&mut self) {
        self.card.pull();
        self.card.let_go();
    }

    fn put_back(&mut self) {
        self.card.insert();
    }

    fn pins_refused(&self) -> usize {
        self.card.pins_refused()
    }
}
