//! A forwarded request as real programs show it; with `HARDKEY_PICTURES=docs/images` the documentation's pictures are taken anew.

use std::path::PathBuf;

use hsm_tests::{SOON, stock_cannot};

use super::lab::Lab;

fn is_shown_and_allowed(program: &str, picture: &str, keys: &[&str]) {
    if stock_cannot("ask about what is forwarded") {
        return;
    }
    let mut lab = Lab::on_screen(program);
    let local: PathBuf = lab.agent.socket().into();
    let way = lab.way(&local, "hosta", "-A");
    // The program at the hop knows no screen; that of the ssh which carries the request is the person's.
    let login = lab.script(&way, "exec ssh -F $CONFIG -i $PUBLIC/work.pub hostb true").without_env("DISPLAY");
    let mut login = login.start("login");
    let display = lab.display.as_ref().expect("a screen");
    let window = display.window("hardkey");
    std::thread::sleep(std::time::Duration::from_millis(900));
    display.picture(picture);
    display.press(&window, keys);
    assert!(login.ends(SOON).success(), "{}", lab.agent.log());
}

#[test]
fn gtk_shows_a_forwarded_request() {
    is_shown_and_allowed("/usr/bin/pinentry-gtk-2", "confirm.png", &["Tab", "Tab", "Return"]);
}

#[test]
fn qt_shows_a_forwarded_request() {
    is_shown_and_allowed("/usr/bin/pinentry-qt", "confirm-qt.png", &["Tab", "Return"]);
}
