# Installs, mounts, upgrades and reloads the plugin (docs/upgrading.md). Has no path of the mount itself. All the same, who may
# register a binary and put it behind the mount can put one there that shows the storage: give this to those who run Vault.

# Register, look at and remove versions. Vault wants sudo here.
path "sys/plugins/catalog/secret/vault-plugin-pagero" {
  capabilities = ["create", "read", "update", "delete", "sudo"]
}

# vault plugin reload -type=secret -plugin=vault-plugin-pagero
path "sys/plugins/reload/secret/vault-plugin-pagero" {
  capabilities = ["update"]
}

# vault write sys/plugins/reload/backend mounts=pagero/, and no other mount.
path "sys/plugins/reload/backend" {
  capabilities = ["update"]

  allowed_parameters = {
    "mounts" = ["pagero/"]
  }
}

# vault secrets list -detailed.
path "sys/mounts" {
  capabilities = ["read"]
}

# vault secrets enable -path=pagero. Without "delete": it would delete all tokens.
path "sys/mounts/pagero" {
  capabilities = ["create", "read", "update"]
}

# vault secrets tune -plugin-version=... pagero/
path "sys/mounts/pagero/tune" {
  capabilities = ["read", "update"]
}

# A rate limit on the callback, which needs no token.
path "sys/quotas/rate-limit/pagero-callback" {
  capabilities = ["create", "read", "update", "delete"]
}
