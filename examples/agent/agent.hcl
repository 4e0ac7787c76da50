# Vault Agent keeps files with a living access token of the account acme:
#
#     vault agent -config=agent.hcl
#
# README.md says what each setting does, and what happens when something fails.

vault {
  address = "https://vault.example.com:8200"
  ca_cert = "/etc/pagero-agent/vault-ca.pem"

  # How often a read that fails is tried again, after 250 ms, then twice as long each time, a minute
  # at most. 12 is the Agent's default: it gives up after some five minutes.
  retry {
    num_retries = 12
  }
}

auto_auth {
  method "approle" {
    mount_path = "auth/approle"
    config = {
      role_id_file_path   = "/etc/pagero-agent/role-id"
      secret_id_file_path = "/etc/pagero-agent/secret-id"

      # By default the Agent deletes the file when it has read it, and cannot log in again when it is
      # restarted. Leave it out where each start is given a secret ID of its own.
      remove_secret_id_file_after_reading = false
    }
  }
}

template_config {
  # End, with exit code 1, when the retries are used up. Only where something restarts the Agent, such
  # as systemd or Kubernetes, and tells somebody. Without it the Agent starts over by itself.
  exit_on_retry_failure = true
}

# A header for curl: curl -H @/run/pagero/acme.header …
template {
  source               = "/etc/pagero-agent/templates/header.ctmpl"
  destination          = "/run/pagero/acme.header"
  perms                = "0600"
  error_on_missing_key = true
}

# For programs that read JSON, and want to know when the token expires.
template {
  source               = "/etc/pagero-agent/templates/json.ctmpl"
  destination          = "/run/pagero/acme.json"
  perms                = "0600"
  error_on_missing_key = true
}

# For programs that read their environment when they start, and so have to be told of each new token.
template {
  source               = "/etc/pagero-agent/templates/env.ctmpl"
  destination          = "/run/pagero/acme.env"
  perms                = "0600"
  error_on_missing_key = true
  exec {
    command = ["systemctl", "try-reload-or-restart", "acme.service"]
    timeout = "30s"
  }
}
