//! The certificate authority of one API server, and the key that signs ServiceAccount tokens.

use std::{fs, io, path::PathBuf};

use anyhow::Result;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};

/// Files that etcd, the API server and its clients are started with.
#[derive(Debug)]
pub(super) struct Certificates {
    folder: PathBuf,
    issuer: Issuer<'static, KeyPair>,
    /// The certificate of the authority, PEM.
    pub(super) authority: String,
}

/// A client certificate and its key, both PEM.
#[derive(Debug)]
pub(super) struct Identity {
    pub(super) certificate: String,
    pub(super) key: String,
}

impl Certificates {
    pub(super) fn new(folder: PathBuf) -> Result<Self> {
        fs::create_dir_all(&folder)?;
        let key = KeyPair::generate()?;
        let mut authority = CertificateParams::default();
        authority.distinguished_name = name("muster-test", &[]);
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        authority.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let certificate = authority.self_signed(&key)?.pem();
        let certificates = Self { folder, issuer: Issuer::new(authority, key), authority: certificate };
        certificates.write("ca.crt", &certificates.authority)?;

        let mut server = CertificateParams::new(
            ["127.0.0.1", "10.0.0.1", "localhost", "kubernetes", "kubernetes.default.svc"].map(String::from).to_vec(),
        )?;
        server.distinguished_name = name("kube-apiserver", &[]);
        server.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let Identity { certificate, key } = certificates.sign(server)?;
        certificates.write("apiserver.crt", &certificate)?;
        certificates.write("apiserver.key", &key)?;

        let tokens = KeyPair::generate()?;
        certificates.write("tokens.key", &tokens.serialize_pem())?;
        certificates.write("tokens.pub", &tokens.public_key_pem())?;
        Ok(certificates)
    }

    /// A client certificate for `user` in `groups`.
    pub(super) fn client(&self, user: &str, groups: &[&str]) -> Result<Identity> {
        let mut client = CertificateParams::default();
        client.distinguished_name = name(user, groups);
        client.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        self.sign(client)
    }

    pub(super) fn file(&self, name: &str) -> String {
        self.folder.join(name).display().to_string()
    }

    fn sign(&self, params: CertificateParams) -> Result<Identity> {
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, &self.issuer)?;
        Ok(Identity { certificate: certificate.pem(), key: key.serialize_pem() })
    }

    fn write(&self, name: &str, text: &str) -> io::Result<()> {
        fs::write(self.folder.join(name), text)
    }
}

fn name(user: &str, groups: &[&str]) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    for group in groups {
        name.push(DnType::OrganizationName, *group);
    }
    name.push(DnType::CommonName, user);
    name
}
