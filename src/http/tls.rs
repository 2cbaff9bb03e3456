//! The certificate of the server, from files that are replaced from time to time.

use std::{
    io,
    path::{Path, PathBuf},
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use rustls::{
    ClientConfig, DigitallySignedStruct, ServerConfig, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{CryptoProvider, aws_lc_rs},
    version::{TLS12, TLS13},
};
use rustls_pki_types::{
    CertificateDer, PrivateKeyDer, ServerName, UnixTime,
    pem::{self, PemObject},
};

use crate::error_chain::Chain;

/// How often the files are looked at. The kubelet needs up to a minute to replace them.
const LOOK: Duration = Duration::from_secs(10);

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("cannot read the certificate or its key in {dir}: there must be tls.crt and tls.key, in PEM")]
    Read { dir: PathBuf, source: pem::Error },
    #[error("the certificate in {dir} and its key do not belong together, or cannot be used")]
    Refused { dir: PathBuf, source: rustls::Error },
    #[error("there is no certificate in {dir}/tls.crt")]
    Empty { dir: PathBuf },
}

/// The certificate as it is now. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Identity {
    dir: Arc<PathBuf>,
    now: Arc<RwLock<Loaded>>,
}

#[derive(Clone, Debug)]
struct Loaded {
    server: Arc<ServerConfig>,
    certificate: CertificateDer<'static>,
}

impl Identity {
    /// # Errors
    /// The files `tls.crt` and `tls.key` in `dir` cannot be used.
    pub fn load(dir: PathBuf) -> Result<Self, Error> {
        let loaded = load(&dir)?;
        Ok(Self { dir: Arc::new(dir), now: Arc::new(RwLock::new(loaded)) })
    }

    pub fn server(&self) -> Arc<ServerConfig> {
        self.loaded().server
    }

    /// For calls to another replica, which has the same certificate: only that one is accepted.
    pub fn client(&self) -> Arc<ClientConfig> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let pinned = Pinned { certificate: self.loaded().certificate, provider: provider.clone() };
        let builder = ClientConfig::builder_with_provider(provider).with_protocol_versions(&[&TLS13, &TLS12]);
        let builder = builder.expect("the provider has cipher suites for these versions");
        Arc::new(builder.dangerous().with_custom_certificate_verifier(Arc::new(pinned)).with_no_client_auth())
    }

    /// Takes in new files until the future is dropped. The former certificate is used while they are wrong.
    pub async fn follow(&self) {
        let mut last_problem = String::new();
        loop {
            tokio::time::sleep(LOOK).await;
            match load(&self.dir) {
                Ok(loaded) => {
                    last_problem.clear();
                    let mut now = self.now.write().unwrap_or_else(PoisonError::into_inner);
                    if now.certificate != loaded.certificate {
                        tracing::info!(dir = %self.dir.display(), "the API uses a new certificate");
                        *now = loaded;
                    }
                }
                Err(error) => {
                    let problem = Chain(&error).to_string();
                    if problem != last_problem {
                        tracing::error!(error = problem, "the API keeps its former certificate");
                        last_problem = problem;
                    }
                }
            }
        }
    }

    fn loaded(&self) -> Loaded {
        self.now.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

fn load(dir: &Path) -> Result<Loaded, Error> {
    let read = |source| Error::Read { dir: dir.to_owned(), source };
    let chain: Result<Vec<_>, _> = CertificateDer::pem_file_iter(dir.join("tls.crt")).map_err(read)?.collect();
    let chain = chain.map_err(read)?;
    let key = PrivateKeyDer::from_pem_file(dir.join("tls.key")).map_err(read)?;
    let certificate = chain.first().cloned().ok_or_else(|| Error::Empty { dir: dir.to_owned() })?;
    let refused = |source| Error::Refused { dir: dir.to_owned(), source };
    let builder = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()));
    let builder = builder.with_protocol_versions(&[&TLS13, &TLS12]).map_err(refused)?;
    let mut server = builder.with_no_client_auth().with_single_cert(chain, key).map_err(refused)?;
    server.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Loaded { server: Arc::new(server), certificate })
}

/// Accepts one certificate, whatever name it is for.
#[derive(Debug)]
struct Pinned {
    certificate: CertificateDer<'static>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        if *end_entity == self.certificate {
            Ok(ServerCertVerified::assertion())
        } else {
            Err(rustls::Error::InvalidCertificate(rustls::CertificateError::UnknownIssuer))
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls12_signature(
            message,
            certificate,
            signed,
            &self.provider.signature_verification_algorithms,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(
            message,
            certificate,
            signed,
            &self.provider.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

/// Any name: the certificate is compared as a whole.
pub(super) fn any_name() -> io::Result<ServerName<'static>> {
    ServerName::try_from("muster.invalid").map_err(io::Error::other)
}
