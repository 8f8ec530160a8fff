{{- define "jouleprint.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 50 | trimAll "-" }}
{{- end }}

{{- /* A release's name may have dots, a Service's may not. */}}
{{- define "jouleprint.fullname" -}}
{{- $name := include "jouleprint.name" . }}
{{- $full := ternary .Release.Name (printf "%s-%s" .Release.Name $name) (contains $name .Release.Name) }}
{{- default $full .Values.fullnameOverride | replace "." "-" | trunc 50 | trimAll "-" }}
{{- end }}

{{- define "jouleprint.serviceName" -}}
{{- $name := include "jouleprint.fullname" . }}
{{- if not (regexMatch "^[a-z]" $name) }}
{{- fail (printf "fullnameOverride: a Service's name begins with a letter, and %s does not (fullnameOverride=jouleprint)" $name) }}
{{- end }}
{{- $name }}
{{- end }}

{{- /* What is of the whole cluster, or in another's namespace: two releases of one name may be in two namespaces. */}}
{{- define "jouleprint.clusterName" -}}
{{- printf "%s-%s" .Release.Namespace (include "jouleprint.fullname" .) }}
{{- end }}

{{- define "jouleprint.selector" -}}
app.kubernetes.io/name: {{ include "jouleprint.name" .root | quote }}
app.kubernetes.io/instance: {{ .root.Release.Name | quote }}
{{- with .component }}
app.kubernetes.io/component: {{ . }}
{{- end }}
{{- end }}

{{- define "jouleprint.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version }}
{{ include "jouleprint.selector" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/part-of: jouleprint
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
{{- end }}

{{- /* Labels that stand twice are refused by the API server, and those of a selector must stay as they are. */}}
{{- define "jouleprint.podLabels" -}}
{{- $own := include "jouleprint.labels" . | fromYaml }}
{{- $_ := set $own "jouleprint/serves" "node" }}
{{- range $key, $_ := .root.Values.podLabels }}
{{- if hasKey $own $key }}{{ fail (printf "podLabels: %s is the chart's own (leave it out)" $key) }}{{ end }}
{{- end }}
{{- merge $own (default dict .root.Values.podLabels) | toYaml }}
{{- end }}

{{- define "jouleprint.serviceAccount" -}}
{{- if .Values.serviceAccount.create }}
{{- default (include "jouleprint.fullname" .) .Values.serviceAccount.name }}
{{- else }}
{{- default "default" .Values.serviceAccount.name }}
{{- end }}
{{- end }}

{{- define "jouleprint.image" -}}
{{- with .Values.image }}
{{- if .digest }}{{ printf "%s@%s" .repository .digest }}
{{- else }}{{ printf "%s:%s" .repository (default $.Chart.AppVersion .tag) }}{{ end }}
{{- end }}
{{- end }}

{{- /* Read-only to the last mount inside; Kubernetes before 1.30 does not know how and would complain. */}}
{{- define "jouleprint.readOnly" -}}
readOnly: true
{{- if semverCompare ">=1.30.0-0" .Capabilities.KubeVersion.Version }}
recursiveReadOnly: IfPossible
{{- end }}
{{- end }}

{{- /* What the chart itself decides, since its ports, probes, mounts and names follow from it. */}}
{{- define "jouleprint.refuseOwn" -}}
{{- range $key, $instead := dict
  "web.listen_addresses" "leave it out: ports, probes and monitors are those of 14401"
  "web.config_file" "set web.tls.secretName or web.configSecret"
  "host.name" "leave it out: each node has its own name"
  "jobs.pod_uid" "leave it out: it is for sidecars, deploy/kustomize/overlays/sidecar"
  "store.path" "set store.hostPath"
  "path.runtime" "set store.runtimeHostPath"
  "grid.relay" "set relay.zones"
}}
{{- $section := $.config }}
{{- range splitList "." $key }}
{{- if hasKey $section . }}{{ $section = index $section . }}{{ else }}{{ $section = dict }}{{ end }}
{{- end }}
{{- if $section }}{{ fail (printf "config.%s is the chart's own (%s)" $key $instead) }}{{ end }}
{{- end }}
{{- end }}

{{- /* 1m30s as 90s: Prometheus takes several units at once, the program one. */}}
{{- define "jouleprint.seconds" -}}
{{- $seconds := 0 }}
{{- range $unit, $factor := dict "w" 604800 "d" 86400 "h" 3600 "m" 60 "s" 1 }}
{{- $count := regexFind (printf "[0-9]+%s" $unit) $ | trimSuffix $unit | default "0" }}
{{- $seconds = add $seconds (mul $factor (int64 $count)) }}
{{- end }}
{{- $seconds }}s
{{- end }}

{{- /* 10s, or the interval if that is shorter: Prometheus takes no time-out beyond the interval, and the operator leaves
such a monitor out without a word. */}}
{{- define "jouleprint.scrapeTimeout" -}}
{{- with .Values.monitor }}
{{- $interval := include "jouleprint.seconds" .interval | trimSuffix "s" | int64 }}
{{- if eq $interval 0 }}
{{- fail (printf "monitor.interval: %s is no time (30s, 1m or 1m30s)" .interval) }}
{{- end }}
{{- if .scrapeTimeout }}
{{- $timeout := include "jouleprint.seconds" .scrapeTimeout | trimSuffix "s" | int64 }}
{{- if or (eq $timeout 0) (gt $timeout $interval) }}
{{- fail (printf "monitor.scrapeTimeout: %s, with an interval of %s (take from 1s to the interval, or leave it out)" .scrapeTimeout .interval) }}
{{- end }}
{{- .scrapeTimeout }}
{{- else }}
{{- min 10 $interval }}s
{{- end }}
{{- end }}
{{- end }}

{{- /* What the user says goes before what the chart knows. */}}
{{- define "jouleprint.config" -}}
{{- $config := default dict .Values.config }}
{{- include "jouleprint.refuseOwn" (dict "config" $config) }}
{{- $path := ternary (dict "sysfs" "/host/sys") (dict "cgroupfs" "/host/sys/fs/cgroup") .Values.mounts.sys }}
{{- if .Values.allowWritable }}{{ $_ := set $path "allow_writable" true }}{{ end }}
{{- $kubernetes := dict }}
{{- $_ := set $kubernetes "logs" (ternary "/host/var/log/pods" "off" .Values.mounts.podLogs) }}
{{- $folder := printf "/host%s/pod-resources" .Values.mounts.kubeletPath }}
{{- $_ := set $kubernetes "pod_resources" (ternary $folder "off" .Values.mounts.podResources) }}
{{- $known := dict "path" $path "jobs" (dict "kubernetes" $kubernetes) }}
{{- if ne .Values.monitor.kind "none" }}{{ $_ := set $known "scrape_interval_hint" (include "jouleprint.seconds" .Values.monitor.interval) }}{{ end }}
{{- if .Values.relay.enabled }}
{{- $url := printf "http://%s-relay:14402" (include "jouleprint.fullname" .) }}
{{- $_ := set $known "grid" (dict "providers" (list (dict "name" "jouleprint" "url" $url))) }}
{{- end }}
{{- mergeOverwrite $known (deepCopy $config) | toYaml }}
{{- end }}

{{- define "jouleprint.hasUsers" -}}
{{- if or .Values.web.configSecret .Values.web.tls.clientAuth }}yes{{ end }}
{{- end }}

{{- define "jouleprint.isTls" -}}
{{- if .Values.web.tls.secretName }}yes{{ end }}
{{- end }}

{{- /* Who asks for credentials has none from the kubelet: then only the port is tried. */}}
{{- define "jouleprint.probe" -}}
{{- if include "jouleprint.hasUsers" .root -}}
tcpSocket: {port: http}
{{- else -}}
httpGet: {path: {{ .path }}, port: http{{ if include "jouleprint.isTls" .root }}, scheme: HTTPS{{ end }}}
{{- end }}
{{- end }}

{{- /* A series is the node's, whichever pod serves it: a rollout makes no new ones. */}}
{{- define "jouleprint.relabelings" -}}
- {sourceLabels: [__meta_kubernetes_pod_node_name], targetLabel: instance}
- {targetLabel: job, replacement: jouleprint}
{{- with .Values.cluster }}
- {targetLabel: cluster, replacement: {{ . | quote }}}
{{- end }}
- {action: labeldrop, regex: pod|container|endpoint|namespace|service|node}
{{- end }}

{{- define "jouleprint.endpoint" -}}
port: http
path: {{ dig "web" "telemetry_path" "/metrics" (default dict .Values.config) }}
interval: {{ .Values.monitor.interval }}
scrapeTimeout: {{ include "jouleprint.scrapeTimeout" . }}
honorLabels: false
{{- if include "jouleprint.isTls" . }}
scheme: https
tlsConfig:
  ca: {secret: {name: {{ .Values.web.tls.secretName }}, key: ca.crt}}
  {{- with .Values.web.tls.serverName }}
  serverName: {{ . }}
  {{- end }}
  {{- with .Values.monitor.clientSecret }}
  cert: {secret: {name: {{ . }}, key: tls.crt}}
  keySecret: {name: {{ . }}, key: tls.key}
  {{- end }}
{{- end }}
{{- with .Values.monitor.basicAuthSecret }}
basicAuth:
  username: {name: {{ . }}, key: username}
  password: {name: {{ . }}, key: password}
{{- end }}
relabelings:
{{ include "jouleprint.relabelings" . }}
{{- end }}
