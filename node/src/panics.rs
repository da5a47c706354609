//! A broker without one of its threads must not look alive: a panic on any of them ends the process.

use std::thread;

use crate::operator::tell;

/// From now on a panic on any thread ends the process with exit code 101 and one line that names the
/// thread, the place and the reason.
pub fn end_the_process() {
    std::panic::set_hook(Box::new(|panic| {
        let text = panic.to_string().replace('\n', " ");
        let current = thread::current();
        let name = current.name().unwrap_or("without a name");
        tell(&format!("thread {name} {text}"));
        std::process::exit(101);
    }));
}

#[cfg(test)]
mod tests {
    use std::process::Command;
    use std::thread;

    const CHILD: &str = "SEEDLOG_TEST_PANICS";

    /// Run as a process of its own by the test below; else there is nothing to do.
    #[test]
    fn child() {
        if std::env::var_os(CHILD).is_none() {
            return;
        }
        super::end_the_process();
        let doomed = thread::Builder::new().name("journal-7".into());
        let doomed = doomed.spawn(|| panic!("planted:\nof two lines"));
        let _ = doomed.expect("spawned").join();
        // Not reached: the process does not outlive its thread.
        std::process::exit(0);
    }

    #[test]
    fn a_panic_on_any_thread_ends_the_process_with_one_line() {
        let me = std::env::current_exe().expect("a path");
        let out = Command::new(me)
            .args(["--exact", "panics::tests::child", "--nocapture"])
            .env(CHILD, "1")
            .output()
            .expect("run");
        let told = String::from_utf8_lossy(&out.stderr);
        assert_eq!(out.status.code(), Some(101), "{told}");
        assert_eq!(told.lines().count(), 1, "{told}");
        for word in ["journal-7", "node/src/panics.rs:", "planted: of two lines"] {
            assert!(told.contains(word), "{word}: {told}");
        }
    }
}
