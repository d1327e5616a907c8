//! Smartcards as kinds of tokens, each in a reader of its own.

use crate::card::{Card, Reader};
use crate::home::Home;
use crate::kind::TokenKind;
use crate::module::Module;

/// A card and its reader.
pub struct Inserted {
    card: Card,
    /// Kept, for the card is in it.
    _reader: Reader,
    module: Module,
}

impl Inserted {
    /// A PIV card, through OpenSC.
    #[must_use]
    pub fn piv(home: &Home) -> Self {
        Self::new(home, |reader| reader.piv("card"), Reader::opensc)
    }

    /// The same, through Yubico's module.
    #[must_use]
    pub fn ykcs11(home: &Home) -> Self {
        Self::new(home, |reader| reader.piv("card"), |reader| reader.module("libykcs11.so", "ykcs11"))
    }

    /// An OpenPGP card, through OpenSC.
    #[must_use]
    pub fn openpgp(home: &Home) -> Self {
        Self::new(home, |reader| reader.openpgp("card"), Reader::opensc)
    }

    fn new(home: &Home, make: fn(&Reader) -> Card, module: fn(&Reader) -> Module) -> Self {
        let reader = Reader::new(home);
        let mut card = make(&reader);
        card.insert();
        let module = module(&reader);
        Self { card, _reader: reader, module }
    }
}

impl TokenKind for Inserted {
    fn module(&self) -> Module {
        self.module.clone()
    }

    fn pin(&self) -> &'static str {
        self.card.pin()
    }

    fn hold(&mut self) {
        self.card.hold();
    }

    fn says_of_a_pending_signature(&self) -> Option<&'static str> {
        Some("is not there any more")
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
