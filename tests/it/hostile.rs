//! The policy's parser on what is made to harm it: an answer, whatever it is.

mod inputs;

use std::thread;

use session_reaper::policy::Policy;

/// The main thread's, on which the function runs. 2 MiB are too few for lists 64 deep in a debug
/// build, and enough in a release build.
const STACK: usize = 8 << 20;

#[test]
fn hostile_texts_are_read_or_refused() {
    for (name, text) in inputs::inputs() {
        let parse = move || match Policy::parse(&text) {
            Ok(policy) => policy.warnings(jiff::Timestamp::UNIX_EPOCH).len(),
            Err(errors) => errors.to_string().len(),
        };
        let thread = thread::Builder::new().stack_size(STACK).spawn(parse).expect("a thread");
        thread.join().unwrap_or_else(|_| panic!("{name}"));
    }
}
