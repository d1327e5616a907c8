//! What real clients, servers and tokens say, recorded, and every property held against it.
//!
//! With `HARDKEY_SEEDS=DIRECTORY` the recordings are also kept there, one directory a property: `fuzz/seeds.sh` renews the seeds so.

mod fido;
mod keys;
mod lines;
mod recorder;
mod sessions;
mod store;
mod worker;

use hsm_tests::{Home, is_stock};
use store::Store;

#[test]
fn the_properties_hold_of_what_real_programs_say() {
    let home = Home::new();
    let mut store = Store::new();
    keys::record(&home, &mut store);
    sessions::record(&home, &mut store);
    lines::record(&home, &mut store);
    if !is_stock() {
        worker::record(&home, &mut store);
        fido::record(&home, &mut store);
    }
    store.check();
    if let Some(directory) = std::env::var_os("HARDKEY_SEEDS") {
        store.write(directory.as_ref());
    }
}
