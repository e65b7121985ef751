{{- define "msa.image" -}}
{{- /* The Go addon has tags v0.x under the same name: ours exists only once this version is released. */ -}}
{{- $tag := .Values.tag | default (printf "msa-v%s" .Chart.AppVersion) -}}
{{- $published := "quay.io/open-cluster-management/managed-serviceaccount" -}}
{{- if and (eq .Values.image $published) (not (hasPrefix "msa-v" $tag)) (not (hasPrefix "sha256:" $tag)) -}}
{{- fail (printf "tag: %s:%s is an image of the Go addon, which this chart cannot run. Remove tag from the values, or set image and tag to an image that was built with make docker-build." $published $tag) -}}
{{- end -}}
{{ .Values.image }}{{ hasPrefix "sha256:" $tag | ternary "@" ":" }}{{ $tag }}
{{- end }}

{{/* Labels of every object. None of them changes with a release: pods would be replaced for it. */}}
{{- define "msa.labels" -}}
app.kubernetes.io/name: managed-serviceaccount
app.kubernetes.io/part-of: open-cluster-management
{{- end }}

{{/* What selects the manager's pods: the same as in the Go addon's chart, so that either chart can upgrade a Deployment of the other. */}}
{{- define "msa.selector" -}}
open-cluster-management.io/addon: managed-serviceaccount
{{- end }}

{{/*
A Deployment's selector cannot be changed, so an existing Deployment keeps its own: an older chart may have had another.
*/}}
{{- define "msa.deploymentSelector" -}}
{{- $live := lookup "apps/v1" "Deployment" .Release.Namespace "managed-serviceaccount-addon-manager" -}}
{{- dig "spec" "selector" "matchLabels" (include "msa.selector" . | fromYaml) $live | toYaml -}}
{{- end }}

{{/* The rules that agents need in their cluster's namespace on the hub, as a list. */}}
{{- define "msa.agentRules" -}}
{{- $stored := .Files.Get "files/agent-hub-role.yaml" | fromYaml -}}
{{- $ephemeral := (.Values.featureGates).ephemeralIdentity | default false | ternary $stored.ephemeral list -}}
{{ concat $stored.rules $ephemeral | toYaml }}
{{- end }}

{{/* Whether the feature gate ClusterProfile is on, by its name of today or by that of the Go addon's chart 0.10: "true" or nothing. */}}
{{- define "msa.clusterProfile" -}}
{{- if or (.Values.featureGates).clusterProfile (.Values.featureGates).clusterProfileCredSyncer }}true{{ end -}}
{{- end }}

{{- define "msa.crdName" -}}
managedserviceaccounts.authentication.open-cluster-management.io
{{- end }}

{{- define "msa.crdFile" -}}
crds/authentication.open-cluster-management.io_managedserviceaccounts.yaml
{{- end }}

{{/* Whether helm made an object of the hub for this release: "true" or nothing. Takes `live` and `release`. */}}
{{- define "msa.isReleases" -}}
{{- $marks := dig "metadata" "annotations" dict .live -}}
{{- $managed := eq (dig "metadata" "labels" "app.kubernetes.io/managed-by" "" .live) "Helm" -}}
{{- $name := eq (get $marks "meta.helm.sh/release-name") .release.Name -}}
{{- $namespace := eq (get $marks "meta.helm.sh/release-namespace") .release.Namespace -}}
{{- and $managed $name $namespace | ternary "true" "" -}}
{{- end }}

{{/* Whether this release may render an object: nobody else has made one of its name. Takes `live` and `release`. */}}
{{- define "msa.isFree" -}}
{{- if or (not .live) (include "msa.isReleases" .) }}true{{ end -}}
{{- end }}

{{/* Whether helm may change the CRD that is on the hub: "true" or nothing. */}}
{{- define "msa.ownsCrd" -}}
{{- $live := lookup "apiextensions.k8s.io/v1" "CustomResourceDefinition" "" (include "msa.crdName" .) -}}
{{- include "msa.isReleases" (dict "live" $live "release" .Release) -}}
{{- end }}

{{/* Whether the CRD on the hub is another than this chart's: "true" or nothing. */}}
{{- define "msa.crdDiffers" -}}
{{- $live := lookup "apiextensions.k8s.io/v1" "CustomResourceDefinition" "" (include "msa.crdName" .) -}}
{{- $ours := .Files.Get (include "msa.crdFile" .) | fromYaml -}}
{{- if $live -}}
{{- ne (toJson $live.spec.versions) (toJson $ours.spec.versions) | ternary "true" "" -}}
{{- end -}}
{{- end }}

{{/* Whether this hub serves ValidatingAdmissionPolicy: "true" or nothing. */}}
{{- define "msa.servesAdmissionPolicy" -}}
{{- .Capabilities.APIVersions.Has "admissionregistration.k8s.io/v1/ValidatingAdmissionPolicy" | ternary "true" "" -}}
{{- end }}

{{/*
Whether `helm uninstall` runs the hook in leave.yaml: "true" or nothing. Not where no pod can run, for helm would wait for it in vain; and not where
a program renders the chart without the hub, for it may apply the hook as an ordinary Job.
*/}}
{{- define "msa.leaves" -}}
{{- $when := (.Values.leave).when | default "Auto" -}}
{{- if eq $when "Always" -}}
true
{{- else if and (eq $when "Auto") (lookup "v1" "Node" "" "").items -}}
true
{{- end -}}
{{- end }}

{{/* Annotations of a hook of `helm uninstall`, of this weight. */}}
{{- define "msa.leaveHook" -}}
helm.sh/hook: pre-delete
helm.sh/hook-weight: {{ . | quote }}
helm.sh/hook-delete-policy: before-hook-creation,hook-succeeded,hook-failed
{{- end }}

{{/* The addon on one cluster, by this release. Takes `cluster` and `live`, the one that is there. */}}
{{- define "msa.clusterAddon" }}
---
apiVersion: addon.open-cluster-management.io/v1alpha1
kind: ManagedClusterAddOn
metadata:
  name: managed-serviceaccount
  namespace: {{ .cluster | quote }}
  labels:
    {{- include "msa.labels" . | nindent 4 }}
  annotations:
    helm.sh/resource-policy: keep
spec:
  # As in the Go addon's chart. A running agent never moves: all its ServiceAccounts and tokens would be other ones.
  installNamespace: {{ dig "spec" "installNamespace" "open-cluster-management-managed-serviceaccount" .live }}
{{- end }}

{{/* Whether this is an upgrade of what another chart has installed, such as the Go addon's: "true" or nothing. */}}
{{- define "msa.followsAnother" -}}
{{- $live := lookup "addon.open-cluster-management.io/v1alpha1" "ClusterManagementAddOn" "" "managed-serviceaccount" -}}
{{- $marked := dig "metadata" "labels" "app.kubernetes.io/part-of" "" $live -}}
{{- if and .Release.IsUpgrade $live (not $marked) -}}
true
{{- end -}}
{{- end }}
