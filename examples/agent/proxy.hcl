# Vault Proxy lets programs on this machine read tokens without a Vault token of their own:
#
#     vault proxy -config=proxy.hcl
#     curl -H "X-Vault-Request: true" http://127.0.0.1:8100/v1/pagero/token/acme
#
# Who can connect to it can do what its policy allows: see README.md.

vault {
  address = "https://vault.example.com:8200"
  ca_cert = "/etc/pagero-agent/vault-ca.pem"
}

auto_auth {
  method "approle" {
    mount_path = "auth/approle"
    config = {
      role_id_file_path                   = "/etc/pagero-agent/role-id"
      secret_id_file_path                 = "/etc/pagero-agent/secret-id"
      remove_secret_id_file_after_reading = false
    }
  }
}

api_proxy {
  use_auto_auth_token = true
}

# No cache {}: the plugin answers from memory, and the Proxy does not cache what has no lease.

listener "tcp" {
  address                = "127.0.0.1:8100"
  tls_disable            = true
  require_request_header = true
}
