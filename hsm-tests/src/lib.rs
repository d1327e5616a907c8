//! What hardkey's tests stand on: a token, an agent, an `sshd` and a home of its own for each test.
