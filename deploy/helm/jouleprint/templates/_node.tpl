{{- /* The DaemonSet: of all nodes, or as two, of those with GPUs and of the others. */}}
{{- define "jouleprint.node" -}}
{{- $root := .root }}
{{- $values := $root.Values }}
{{- $name := include "jouleprint.fullname" $root }}
{{- $component := ternary "gpu-node" "node" .isGpu }}
apiVersion: apps/v1
kind: DaemonSet
metadata:
  name: {{ $name }}{{ if .isGpu }}-gpu{{ end }}
  namespace: {{ $root.Release.Namespace }}
  labels: {{- include "jouleprint.labels" (dict "root" $root "component" $component) | nindent 4 }}
spec:
  selector:
    matchLabels: {{- include "jouleprint.selector" (dict "root" $root "component" $component) | nindent 6 }}
  updateStrategy:
    type: RollingUpdate
    # The store has one holder: the new pod must wait for the old one anyway.
    rollingUpdate: {maxSurge: 0, maxUnavailable: 10%}
  template:
    metadata:
      labels: {{- include "jouleprint.podLabels" (dict "root" $root "component" $component) | nindent 8 }}
      annotations:
        checksum/config: {{ include (print $root.Template.BasePath "/configmap.yaml") $root | sha256sum }}
        {{- with $values.podAnnotations }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
    spec:
      serviceAccountName: {{ include "jouleprint.serviceAccount" $root }}
      automountServiceAccountToken: {{ $values.serviceAccount.mountToken }}
      {{- with $values.image.pullSecrets }}
      imagePullSecrets:
      {{- range . }}
      - name: {{ . }}
      {{- end }}
      {{- end }}
      hostUsers: true
      {{- if $values.hostPID }}
      hostPID: true
      {{- end }}
      terminationGracePeriodSeconds: 10
      {{- with $values.priorityClassName }}
      priorityClassName: {{ . }}
      {{- end }}
      {{- if and .isGpu $values.nvidia.runtimeClassName }}
      runtimeClassName: {{ $values.nvidia.runtimeClassName }}
      {{- end }}
      {{- /* Not a default in values.yaml: helm would add the user's own label to it. */}}
      {{- $hasGpus := default (dict "nvidia.com/gpu.present" "true") $values.nvidia.nodeSelector }}
      nodeSelector:
        {{- $selector := merge (dict "kubernetes.io/os" "linux") (default dict $values.nodeSelector) }}
        {{- if .isGpu }}{{ $selector = merge $selector $hasGpus }}{{ end }}
        {{- toYaml $selector | nindent 8 }}
      {{- $affinity := deepCopy (default dict $values.affinity) }}
      {{- if and $values.nvidia.enabled (not .isGpu) }}
      {{- if $affinity.nodeAffinity }}{{ fail "affinity.nodeAffinity: with nvidia.enabled the chart sets it (use nodeSelector)" }}{{ end }}
      {{- $others := list }}
      {{- range $key, $value := $hasGpus }}
      {{- $differs := dict "key" $key "operator" "NotIn" "values" (list $value) }}
      {{- $others = append $others (dict "matchExpressions" (list $differs)) }}
      {{- end }}
      {{- $terms := dict "nodeSelectorTerms" $others }}
      {{- $_ := set $affinity "nodeAffinity" (dict "requiredDuringSchedulingIgnoredDuringExecution" $terms) }}
      {{- end }}
      {{- with $affinity }}
      affinity: {{- toYaml . | nindent 8 }}
      {{- end }}
      {{- with $values.tolerations }}
      tolerations: {{- toYaml . | nindent 6 }}
      {{- end }}
      securityContext:
        seccompProfile: {type: RuntimeDefault}
        {{- with $values.seLinuxOptions }}
        seLinuxOptions: {{- toYaml . | nindent 10 }}
        {{- end }}
      containers:
      - name: jouleprint
        image: {{ include "jouleprint.image" $root | quote }}
        imagePullPolicy: {{ $values.image.pullPolicy }}
        args:
        - --config.file=/etc/jouleprint/jouleprint.yaml
        - --store.path=/var/lib/jouleprint
        - --path.runtime=/run/jouleprint
        - --log.level={{ $values.logLevel }}
        - --log.format={{ $values.logFormat }}
        {{- if $values.web.configSecret }}
        - --web.config.file=/etc/jouleprint-web/web.yaml
        {{- else if $values.web.tls.secretName }}
        - --web.config.file=/etc/jouleprint/web.yaml
        {{- end }}
        env:
        - {name: NODE_NAME, valueFrom: {fieldRef: {fieldPath: spec.nodeName}}}
        - {name: POD_NAME, valueFrom: {fieldRef: {fieldPath: metadata.name}}}
        - {name: POD_NAMESPACE, valueFrom: {fieldRef: {fieldPath: metadata.namespace}}}
        # Empty before Kubernetes 1.35, which copies the node's labels to its pods.
        - {name: NODE_REGION, valueFrom: {fieldRef: {fieldPath: "metadata.labels['topology.kubernetes.io/region']"}}}
        - {name: NODE_ZONE, valueFrom: {fieldRef: {fieldPath: "metadata.labels['topology.kubernetes.io/zone']"}}}
        {{- if .isGpu }}
        - {name: NVIDIA_VISIBLE_DEVICES, value: all}
        - {name: NVIDIA_DRIVER_CAPABILITIES, value: utility}
        {{- end }}
        {{- with $values.extraEnv }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
        ports:
        - {name: http, containerPort: 14401}
        securityContext:
          {{- if eq $values.profile "root" }}
          runAsUser: 0
          runAsGroup: 0
          {{- else }}
          runAsUser: 65532
          runAsGroup: 65532
          runAsNonRoot: true
          {{- end }}
          privileged: false
          allowPrivilegeEscalation: false
          readOnlyRootFilesystem: true
          capabilities: {drop: [ALL]}
        resources: {{- toYaml (default dict (ternary $values.nvidia.resources $values.resources .isGpu)) | nindent 10 }}
        startupProbe:
          {{- include "jouleprint.probe" (dict "root" $root "path" "/-/healthy") | nindent 10 }}
          # A start waits up to a minute for the store of the pod before.
          periodSeconds: 2
          failureThreshold: 45
        livenessProbe:
          {{- include "jouleprint.probe" (dict "root" $root "path" "/-/healthy") | nindent 10 }}
          periodSeconds: 30
          timeoutSeconds: 5
        readinessProbe:
          {{- include "jouleprint.probe" (dict "root" $root "path" "/-/ready") | nindent 10 }}
          periodSeconds: 10
          timeoutSeconds: 5
        {{- $mounts := dict "cgroup" (list "/sys/fs/cgroup" "/host/sys/fs/cgroup") }}
        {{- if $values.mounts.sys }}
        {{- $_ := set $mounts "class" (list "/sys/class" "/host/sys/class") }}
        {{- $_ := set $mounts "devices" (list "/sys/devices" "/host/sys/devices") }}
        {{- end }}
        {{- $more := default list $values.mounts.moreOfSys }}
        {{- if .isGpu }}{{ $more = append $more "bus" | uniq }}{{ end }}
        {{- range $more }}
        {{- $_ := set $mounts (printf "sys-%s" .) (list (printf "/sys/%s" .) (printf "/host/sys/%s" .)) }}
        {{- end }}
        {{- if $values.mounts.podLogs }}
        {{- $_ := set $mounts "pod-logs" (list "/var/log/pods" "/host/var/log/pods") }}
        {{- end }}
        {{- if $values.mounts.podResources }}
        {{- $folder := printf "%s/pod-resources" $values.mounts.kubeletPath }}
        {{- $_ := set $mounts "pod-resources" (list $folder (printf "/host%s" $folder)) }}
        {{- end }}
        volumeMounts:
        - {name: config, mountPath: /etc/jouleprint, readOnly: true}
        {{- range $volume, $paths := $mounts }}
        - name: {{ $volume }}
          mountPath: {{ index $paths 1 }}
          {{- include "jouleprint.readOnly" $root | nindent 10 }}
        {{- end }}
        - {name: store, mountPath: /var/lib/jouleprint}
        - {name: runtime, mountPath: /run/jouleprint}
        {{- with include "jouleprint.extraMounts" $root | trim }}
        {{- . | nindent 8 }}
        {{- end }}
        {{- with include "jouleprint.secretMounts" (dict "root" $root "secrets" $values.secrets) | trim }}
        {{- . | nindent 8 }}
        {{- end }}
      volumes:
      - name: config
        configMap: {name: {{ $name }}}
      {{- range $volume, $paths := $mounts }}
      - name: {{ $volume }}
        hostPath: {path: {{ index $paths 0 }}, type: Directory}
      {{- end }}
      {{- range $volume, $path := dict "store" $values.store.hostPath "runtime" $values.store.runtimeHostPath }}
      - name: {{ $volume }}
        {{- if $values.store.hostPath }}
        hostPath: {path: {{ $path }}, type: DirectoryOrCreate}
        {{- else if eq $volume "runtime" }}
        emptyDir: {medium: Memory, sizeLimit: 1Mi}
        {{- else }}
        emptyDir: {sizeLimit: 1Gi}
        {{- end }}
      {{- end }}
      {{- with $values.extraVolumes }}
      {{- toYaml . | nindent 6 }}
      {{- end }}
      {{- with include "jouleprint.secretVolumes" (dict "root" $root "secrets" $values.secrets) | trim }}
      {{- . | nindent 6 }}
      {{- end }}
{{- end }}

{{- /* What is the host's is read-only, whatever is said. */}}
{{- define "jouleprint.extraMounts" -}}
{{- $ofHost := dict }}
{{- $known := dict }}
{{- range .Values.extraVolumes }}
{{- $_ := set $known .name true }}
{{- if .hostPath }}{{ $_ := set $ofHost .name true }}{{ end }}
{{- end }}
{{- range .Values.extraVolumeMounts }}
{{- if not (hasKey $known .name) }}
{{- fail (printf "extraVolumeMounts: %s is none of extraVolumes (name it there, or take the mount out)" .name) }}
{{- end }}
{{- if hasKey $ofHost .name }}
- {{- merge (include "jouleprint.readOnly" $ | fromYaml) . | toYaml | nindent 2 }}
{{- else }}
- {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}
{{- end }}

{{- define "jouleprint.secretMounts" -}}
{{- $web := .root.Values.web }}
{{- if $web.configSecret }}
- {name: web, mountPath: /etc/jouleprint-web, readOnly: true}
{{- end }}
{{- if $web.tls.secretName }}
- {name: tls, mountPath: /etc/jouleprint-tls, readOnly: true}
{{- end }}
{{- range $index, $secret := .secrets }}
- {name: secret-{{ $index }}, mountPath: {{ $secret.mountPath }}, readOnly: true}
{{- end }}
{{- end }}

{{- define "jouleprint.secretVolumes" -}}
{{- $web := .root.Values.web }}
{{- with $web.configSecret }}
- name: web
  secret: {secretName: {{ . }}}
{{- end }}
{{- with $web.tls.secretName }}
- name: tls
  secret: {secretName: {{ . }}}
{{- end }}
{{- range $index, $secret := .secrets }}
- name: secret-{{ $index }}
  secret: {secretName: {{ $secret.name }}}
{{- end }}
{{- end }}
