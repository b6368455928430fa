//! The `gantry` command. Everything is in the library.

fn main() -> std::process::ExitCode {
    gantry_cli::main()
}
