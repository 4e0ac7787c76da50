# The Agent as the supervisor of one program, which gets the token in its environment and is
# restarted with each new one, every 8 minutes with Pagero's tokens:
#
#     vault agent -config=exec.hcl
#
# README.md says when that is the wrong way.

vault {
  address = "https://vault.example.com:8200"
  ca_cert = "/etc/pagero-agent/vault-ca.pem"
  retry {
    num_retries = 12
  }
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

template_config {
  # The program ends with the Agent. Without it, it goes on with a token that has expired.
  exit_on_retry_failure = true
}

env_template "PAGERO_ACCESS_TOKEN" {
  contents             = "{{ with secret \"pagero/token/acme\" }}{{ .Data.access_token }}{{ end }}"
  error_on_missing_key = true
}

exec {
  command                   = ["/usr/local/bin/acme-worker"]
  restart_on_secret_changes = "always"
  restart_stop_signal       = "SIGTERM"
}
