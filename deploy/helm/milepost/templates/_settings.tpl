{{/*
Settings of a program as `env`, and the files of their secrets as volumes. All of it is written into the Pod, so that a hook
needs nothing of this chart; secrets are files, which the programs read again. Context: root, component, values.
*/}}
{{- define "milepost.env" -}}
{{- $root := .root }}
{{- $values := .values }}
{{- $kafka := $root.Values.kafka }}
{{- range $name, $value := $root.Values.settings }}
- {name: {{ $name }}, value: {{ include "milepost.text" $value | quote }}}
{{- end }}
{{- with $root.Values.boardUrl }}
- {name: MILEPOST_BOARD_URL, value: {{ . | quote }}}
{{- end }}
{{- if hasKey $values "kafka" }}
- {name: MILEPOST_KAFKA, value: {{ join "," $kafka.bootstrapServers | quote }}}
- {name: MILEPOST_KAFKA_SECURITY_PROTOCOL, value: {{ $kafka.securityProtocol }}}
- {name: MILEPOST_PREFIX, value: {{ $kafka.prefix | quote }}}
- {name: MILEPOST_GROUP, value: {{ $kafka.group | quote }}}
- {name: MILEPOST_PARTITIONS, value: {{ int $kafka.partitions | quote }}}
- {name: MILEPOST_TOPICS, value: {{ $kafka.topics }}}
{{- if hasSuffix "SSL" $kafka.securityProtocol }}
- {name: MILEPOST_KAFKA_SSL_STRICT, value: {{ $kafka.strict | quote }}}
{{- if $kafka.ca.existingSecret }}
- {name: MILEPOST_KAFKA_SSL_CAFILE, value: {{ printf "/etc/milepost/kafka-ca/%s" $kafka.ca.key | quote }}}
{{- end }}
{{- end }}
{{- if hasPrefix "SASL" $kafka.securityProtocol }}
- {name: MILEPOST_KAFKA_SASL_MECHANISM, value: {{ $kafka.saslMechanism }}}
{{- if ne $kafka.saslMechanism "OAUTHBEARER" }}
- {name: MILEPOST_KAFKA_SASL_USERNAME, value: {{ required (printf "%s.kafka.username: the user of the login is missing" .component) $values.kafka.username | quote }}}
- {name: MILEPOST_KAFKA_SASL_PASSWORD_FILE, value: {{ printf "/etc/milepost/kafka/%s" $values.kafka.passwordKey | quote }}}
{{- else if $kafka.oauth.tokenFile }}
- {name: MILEPOST_KAFKA_OAUTH_TOKEN_FILE, value: {{ $kafka.oauth.tokenFile | quote }}}
{{- else }}
- {name: MILEPOST_KAFKA_OAUTH_TOKEN_ENDPOINT, value: {{ required "kafka.oauth: OAUTHBEARER takes a tokenEndpoint or a tokenFile" $kafka.oauth.tokenEndpoint | quote }}}
- {name: MILEPOST_KAFKA_OAUTH_CLIENT_ID, value: {{ required (printf "%s.kafka.username: the client's id is missing" .component) $values.kafka.username | quote }}}
- {name: MILEPOST_KAFKA_OAUTH_CLIENT_SECRET_FILE, value: {{ printf "/etc/milepost/kafka/%s" $values.kafka.passwordKey | quote }}}
{{- with $kafka.oauth.scope }}
- {name: MILEPOST_KAFKA_OAUTH_SCOPE, value: {{ . | quote }}}
{{- end }}
{{- if $kafka.oauth.ca.existingSecret }}
- {name: MILEPOST_KAFKA_OAUTH_CAFILE, value: {{ printf "/etc/milepost/oauth-ca/%s" $kafka.oauth.ca.key | quote }}}
{{- end }}
{{- end }}
{{- else if and (eq $kafka.securityProtocol "SSL") $values.kafka.existingSecret }}
- {name: MILEPOST_KAFKA_SSL_CERTFILE, value: {{ printf "/etc/milepost/kafka/%s" $values.kafka.certificateKey | quote }}}
- {name: MILEPOST_KAFKA_SSL_KEYFILE, value: {{ printf "/etc/milepost/kafka/%s" $values.kafka.keyKey | quote }}}
{{- with $values.kafka.keyPasswordKey }}
- {name: MILEPOST_KAFKA_SSL_KEY_PASSWORD_FILE, value: {{ printf "/etc/milepost/kafka/%s" . | quote }}}
{{- end }}
{{- end }}
{{- end }}
{{- if hasKey $values "database" }}
- {name: MILEPOST_DATABASE_FILE, value: {{ printf "/etc/milepost/database/%s" $values.database.key | quote }}}
- {name: MILEPOST_DATABASE_PREPARED, value: {{ $root.Values.database.prepared | quote }}}
{{- with $root.Values.database.sslMode }}
- {name: PGSSLMODE, value: {{ . }}}
{{- end }}
{{- if $root.Values.database.ca.existingSecret }}
- {name: PGSSLROOTCERT, value: {{ printf "/etc/milepost/database-ca/%s" $root.Values.database.ca.key | quote }}}
{{- else if eq $root.Values.database.sslMode "verify-full" }}
- {name: PGSSLROOTCERT, value: system}
{{- end }}
{{- end }}
{{- if hasKey $values "stopSeconds" }}
- {name: MILEPOST_STOP_SECONDS, value: {{ include "milepost.text" $values.stopSeconds | quote }}}
- {name: MILEPOST_METRICS, value: {{ printf "%s:8092" $root.Values.listenAddress | quote }}}
{{- end }}
{{- with $values.extraEnv }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* A value as the text of a setting; numbers of values are floating-point numbers, and have no exponent as a setting. */}}
{{- define "milepost.text" -}}
{{- if kindIs "map" . }}{{ toJson . }}
{{- else if kindIs "float64" . }}{{ if eq . (floor .) }}{{ int64 . }}{{ else }}{{ toString . }}{{ end }}
{{- else }}{{ . }}{{ end }}
{{- end }}

{{/* Secrets of a program, each with the folder below /etc/milepost and the keys that are files there, as a list in JSON. */}}
{{- define "milepost.secrets" -}}
{{- $root := .root }}
{{- $values := .values }}
{{- $kafka := $root.Values.kafka }}
{{- $secrets := list }}
{{- if hasKey $values "kafka" }}
{{- $needed := printf "%s.kafka.existingSecret: the secret of the login is missing" .component }}
{{- if and (hasSuffix "SSL" $kafka.securityProtocol) $kafka.ca.existingSecret }}
{{- $secrets = append $secrets (dict "folder" "kafka-ca" "secret" $kafka.ca.existingSecret "keys" (list $kafka.ca.key)) }}
{{- end }}
{{- if and (hasPrefix "SASL" $kafka.securityProtocol) (or (ne $kafka.saslMechanism "OAUTHBEARER") (not $kafka.oauth.tokenFile)) }}
{{- $secrets = append $secrets (dict "folder" "kafka" "secret" (required $needed $values.kafka.existingSecret) "keys" (list $values.kafka.passwordKey)) }}
{{- if and (eq $kafka.saslMechanism "OAUTHBEARER") $kafka.oauth.ca.existingSecret }}
{{- $secrets = append $secrets (dict "folder" "oauth-ca" "secret" $kafka.oauth.ca.existingSecret "keys" (list $kafka.oauth.ca.key)) }}
{{- end }}
{{- else if and (eq $kafka.securityProtocol "SSL") $values.kafka.existingSecret }}
{{- $secrets = append $secrets (dict "folder" "kafka" "secret" $values.kafka.existingSecret "keys" (compact (list $values.kafka.certificateKey $values.kafka.keyKey $values.kafka.keyPasswordKey))) }}
{{- end }}
{{- end }}
{{- if hasKey $values "database" }}
{{- $secrets = append $secrets (dict "folder" "database" "secret" $values.database.existingSecret "keys" (list $values.database.key)) }}
{{- with $root.Values.database.ca }}{{ if .existingSecret }}
{{- $secrets = append $secrets (dict "folder" "database-ca" "secret" .existingSecret "keys" (list .key)) }}
{{- end }}{{ end }}
{{- end }}
{{- with $values.feedKey }}{{ if .existingSecret }}
{{- $secrets = append $secrets (dict "folder" "feed-key" "secret" .existingSecret "keys" (list .key)) }}
{{- end }}{{ end }}
{{- with $values.tokens }}
{{- $secrets = append $secrets (dict "folder" "gateway" "secret" .existingSecret "keys" (list .key)) }}
{{- end }}
{{- with $values.targets }}
{{- /* The file names others beside it: all keys. */}}
{{- $secrets = append $secrets (dict "folder" "notify" "secret" .existingSecret "keys" list) }}
{{- end }}
{{- toJson $secrets }}
{{- end }}
