//! Owns `forebay certificates dev`: an authority and a certificate for one machine, to try TLS with.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use clap::{Args, Subcommand};
use forebay_event::{Clock, SystemClock};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose,
};

/// What the exit codes mean.
const EXIT_CODES: &str = "\
Exit codes:
  0  the files are there
  1  a file cannot be written, or is there already
  2  the command is wrong";

/// The certificates are right for so long.
const VALIDITY: Duration = Duration::from_secs(365 * 24 * 3600);
/// Clocks may differ by so much.
const SKEW: Duration = Duration::from_secs(24 * 3600);
/// What the authority, the certificate and its key are called.
const AUTHORITY_FILE: &str = "ca.pem";
const CERTIFICATE_FILE: &str = "server.pem";
const KEY_FILE: &str = "server.key";
/// Who may read a key, and who a certificate.
const MODE_PRIVATE: u32 = 0o600;
const MODE_PUBLIC: u32 = 0o644;

/// The commands on certificates.
#[derive(Debug, Args)]
pub struct CertificatesArgs {
    #[command(subcommand)]
    command: CertificatesCommand,
}

#[derive(Debug, Subcommand)]
enum CertificatesCommand {
    /// Makes an authority and a server's certificate signed by it, to try TLS on one machine
    ///
    /// Writes ca.pem (for clients), server.pem and server.key (for `tls.certificate` and `tls.key`). They are good for a
    /// year. The authority's key is thrown away, so that nobody can sign anything else with it.
    #[command(after_help = EXIT_CODES)]
    Dev(DevArgs),
}

#[derive(Debug, Args)]
struct DevArgs {
    /// The directory to write to; made when it is not there
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// A name or address that clients dial, besides localhost, 127.0.0.1 and ::1; may be repeated
    #[arg(long, value_name = "NAME")]
    host: Vec<String>,
}

/// Why no certificates were made.
#[derive(Debug, thiserror::Error)]
enum DevError {
    /// A file cannot be written.
    #[error("{} cannot be written: {error}", .path.display())]
    File {
        /// Which file.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// A name is no name, or the cryptography library refused.
    #[error("the certificates cannot be made: {0}")]
    Made(#[from] rcgen::Error),
}

/// Does what the command says. Answers 0 when the files are there, 1 when they could not be made.
pub fn run_certificates(args: &CertificatesArgs) -> ExitCode {
    let CertificatesCommand::Dev(args) = &args.command;
    let (text, code) = match make(args) {
        Ok(()) => {
            let files = [CERTIFICATE_FILE, KEY_FILE, AUTHORITY_FILE].map(|file| args.out.join(file));
            let [certificate, key, ca] = files.each_ref().map(|path| path.display());
            let serve = format!("forebay serve --tls-certificate {certificate} --tls-key {key}");
            let speak = format!("forebay connectors list --server https://localhost:2113 --ca-file {ca} --user admin");
            let text = format!(
                "serve with:  {serve}\nspeak with:  {speak}\n\
                 The server asks who calls: it tells the password of admin at its first start; give it as FOREBAY_PASSWORD.\n"
            );
            (text, ExitCode::SUCCESS)
        }
        Err(error) => (format!("error: {error}\n"), ExitCode::FAILURE),
    };
    let written = if code == ExitCode::SUCCESS {
        io::stdout().write_all(text.as_bytes())
    } else {
        io::stderr().write_all(text.as_bytes())
    };
    if written.is_err() { ExitCode::FAILURE } else { code }
}

fn make(args: &DevArgs) -> Result<(), DevError> {
    fs::create_dir_all(&args.out).map_err(|error| DevError::File { path: args.out.clone(), error })?;
    let now = SystemClock::new().now().to_system_time();
    let authority = authority(now)?;
    let mut names = ["localhost", "127.0.0.1", "::1"].map(str::to_owned).to_vec();
    names.extend(args.host.iter().cloned());
    let mut params = CertificateParams::new(names)?;
    params.distinguished_name.push(DnType::CommonName, "forebay");
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.use_authority_key_identifier_extension = true;
    for_a_year(&mut params, now);
    let key = KeyPair::generate()?;
    let certificate = params.signed_by(&key, &authority)?;
    write(&args.out, KEY_FILE, &key.serialize_pem(), MODE_PRIVATE)?;
    write(&args.out, CERTIFICATE_FILE, &certificate.pem(), MODE_PUBLIC)?;
    write(&args.out, AUTHORITY_FILE, &authority.pem(), MODE_PUBLIC)
}

fn authority(now: SystemTime) -> Result<CertifiedIssuer<'static, KeyPair>, rcgen::Error> {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, "forebay development authority");
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    for_a_year(&mut params, now);
    CertifiedIssuer::self_signed(params, KeyPair::generate()?)
}

fn for_a_year(params: &mut CertificateParams, now: SystemTime) {
    params.not_before = (now - SKEW).into();
    params.not_after = (now + VALIDITY).into();
}

/// Writes a file that is not there yet: what somebody may still use is not overwritten.
fn write(folder: &Path, file: &str, text: &str, mode: u32) -> Result<(), DevError> {
    let path = folder.join(file);
    let opened = OpenOptions::new().write(true).create_new(true).mode(mode).open(&path);
    opened.and_then(|mut file| file.write_all(text.as_bytes())).map_err(|error| DevError::File { path, error })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::certificates::Certificates;
    use crate::config::TlsFiles;

    #[test]
    fn what_is_made_can_be_served_and_is_never_overwritten() {
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().join("new");
        let args = DevArgs { out: out.clone(), host: vec!["node.test".to_owned()] };
        make(&args).unwrap();
        let files = TlsFiles { certificate: out.join(CERTIFICATE_FILE), key: out.join(KEY_FILE), ca: None };
        assert!(Certificates::load(&files).is_ok());
        let before = fs::read(&files.key).unwrap();
        assert!(make(&args).unwrap_err().to_string().contains("server.key cannot be written"));
        assert_eq!(fs::read(&files.key).unwrap(), before);
        let mode = std::os::unix::fs::PermissionsExt::mode(&fs::metadata(&files.key).unwrap().permissions());
        assert_eq!(mode & 0o777, MODE_PRIVATE);
    }
}
