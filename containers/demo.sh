#!/bin/sh
# What an operator does with a new mount, against the sandbox of compose.yaml. The plugin is registered
# already: a Vault in development mode registers what is in its plugin directory.
set -eu
sandbox=${SANDBOX_URL:-https://127.0.0.1:8443}
ca=${SANDBOX_CA:-/shared/ca.pem}

vault secrets enable -path=pagero vault-plugin-pagero
vault write pagero/config allowed_hosts=127.0.0.1
vault write pagero/clients/default client_id=sandbox-client client_secret=sandbox-secret \
	token_url="$sandbox/oauth/v2/oauth-token" authorize_url="$sandbox/oauth/v2/oauth-authorize" \
	revoke_url="$sandbox/oauth/v2/oauth-revoke" ca_cert="@$ca"
vault write pagero/accounts/acme username=alice password=alice-password
vault read pagero/token/acme
