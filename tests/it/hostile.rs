//! The policy's parser on what is made to harm it: an answer, whatever it is, on a stack of 2 MiB.

mod inputs;

use std::thread;

use session_reaper::policy::Policy;

#[test]
fn hostile_texts_are_read_or_refused() {
    for (name, text) in inputs::inputs() {
        let parse = move || match Policy::parse(&text) {
            Ok(policy) => policy.warnings(jiff::Timestamp::UNIX_EPOCH).len(),
            Err(errors) => errors.to_string().len(),
        };
        let thread = thread::spawn(parse);
        thread.join().unwrap_or_else(|_| panic!("{name}"));
    }
}
