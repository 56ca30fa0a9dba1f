"""The fields of a pod: names, types and protobuf numbers, as a table that `schema` reads.

Source of names, numbers and patch keys: core/v1 generated.proto and types.go of kubernetes/api, mid 2026. Left out are
volume types of cloud and storage vendors, trust bundle and pod certificate projections: as JSON they count as
unknown fields.

One message a line: its name, then ``field=number:type`` in the order of the JSON encoding. Types: none = string,
i = integer, b = boolean, t = time, u = time with microseconds, q = quantity, x = integer or string, y = bytes,
r = anything, else a message. ``[]`` = list, ``{}`` = map from strings, ``?`` = absent unless set (others are always on
the protobuf wire), ``@key`` = lists merge by this key in a strategic patch (``@`` alone: as a set), ``+`` = a message
whose fields lie inline in the JSON object.
"""

POD_FIELDS = """
Pod metadata=1:ObjectMeta spec=2:PodSpec status=3:PodStatus
PodSpec volumes=1:Volume[]@name initContainers=20:Container[]@name containers=2:Container[]@name
    ephemeralContainers=34:EphemeralContainer[]@name restartPolicy=3 terminationGracePeriodSeconds=4:i?
    activeDeadlineSeconds=5:i? dnsPolicy=6 nodeSelector=7{} serviceAccountName=8 serviceAccount=9
    automountServiceAccountToken=21:b? nodeName=10 hostNetwork=11:b hostPID=12:b hostIPC=13:b
    shareProcessNamespace=27:b? securityContext=14:PodSecurityContext?
    imagePullSecrets=15:LocalObjectReference[]@name hostname=16 subdomain=17 affinity=18:Affinity? schedulerName=19
    tolerations=22:Toleration[] hostAliases=23:HostAlias[]@ip priorityClassName=24 priority=25:i?
    dnsConfig=26:PodDNSConfig? readinessGates=28:PodReadinessGate[] runtimeClassName=29? enableServiceLinks=30:b?
    preemptionPolicy=31? overhead=32:q{} topologySpreadConstraints=33:TopologySpreadConstraint[]@topologyKey
    setHostnameAsFQDN=35:b? os=36:PodOS? hostUsers=37:b? schedulingGates=38:PodSchedulingGate[]@name
    resourceClaims=39:PodResourceClaim[]@name resources=40:ResourceRequirements? hostnameOverride=41?
    schedulingGroup=43:PodSchedulingGroup? evictionResponders=44:EvictionResponder[]@name
PodStatus observedGeneration=17:i phase=1 conditions=2:PodCondition[]@type message=3 reason=4 nominatedNodeName=11
    hostIP=5 hostIPs=16:HostIP[]@ip podIP=6 podIPs=12:PodIP[]@ip startTime=7:t?
    initContainerStatuses=10:ContainerStatus[] containerStatuses=8:ContainerStatus[] qosClass=9
    ephemeralContainerStatuses=13:ContainerStatus[] resize=14 resourceClaimStatuses=15:PodResourceClaimStatus[]@name
    extendedResourceClaimStatus=18:PodExtendedResourceClaimStatus? allocatedResources=19:q{}
    resources=20:ResourceRequirements?
    nodeAllocatableResourceClaimStatuses=21:NodeAllocatableResourceClaimStatus[]@resourceClaimName
    volumeHealth=22:PodVolumeHealth[]
LocalObjectReference name=1
Volume name=1 +volumeSource=2:VolumeSource
Container name=1 image=2 command=3[] args=4[] workingDir=5 ports=6:ContainerPort[]@containerPort
    envFrom=19:EnvFromSource[] env=7:EnvVar[]@name resources=8:ResourceRequirements
    resizePolicy=23:ContainerResizePolicy[] restartPolicy=24? restartPolicyRules=25:ContainerRestartRule[]
    volumeMounts=9:VolumeMount[]@mountPath volumeDevices=21:VolumeDevice[]@devicePath livenessProbe=10:Probe?
    readinessProbe=11:Probe? startupProbe=22:Probe? lifecycle=12:Lifecycle? terminationMessagePath=13
    terminationMessagePolicy=20 imagePullPolicy=14 securityContext=15:SecurityContext? stdin=16:b stdinOnce=17:b
    tty=18:b
EphemeralContainer +ephemeralContainerCommon=1:Container targetContainerName=2
PodSecurityContext seLinuxOptions=1:SELinuxOptions? windowsOptions=8:WindowsSecurityContextOptions? runAsUser=2:i?
    runAsGroup=6:i? runAsNonRoot=3:b? supplementalGroups=4:i[] supplementalGroupsPolicy=12? fsGroup=5:i?
    sysctls=7:Sysctl[] fsGroupChangePolicy=9? seccompProfile=10:SeccompProfile? appArmorProfile=11:AppArmorProfile?
    seLinuxChangePolicy=13?
Affinity nodeAffinity=1:NodeAffinity? podAffinity=2:PodAffinity? podAntiAffinity=3:PodAntiAffinity?
Toleration key=1 operator=2 value=3 effect=4 tolerationSeconds=5:i?
HostAlias ip=1 hostnames=2[]
PodDNSConfig nameservers=1[] searches=2[] options=3:PodDNSConfigOption[]
PodReadinessGate conditionType=1
TopologySpreadConstraint maxSkew=1:i topologyKey=2 whenUnsatisfiable=3 labelSelector=4:LabelSelector?
    minDomains=5:i? nodeAffinityPolicy=6? nodeTaintsPolicy=7? matchLabelKeys=8[]
PodOS name=1
PodSchedulingGate name=1
PodResourceClaim name=1 resourceClaimName=3? resourceClaimTemplateName=4?
ResourceRequirements limits=1:q{} requests=2:q{} claims=3:ResourceClaim[]
PodSchedulingGroup podGroupName=1?
EvictionResponder name=1 priority=2:i?
PodCondition type=1 observedGeneration=7:i status=2 lastProbeTime=3:t lastTransitionTime=4:t reason=5 message=6
HostIP ip=1
PodIP ip=1
ContainerStatus name=1 state=2:ContainerState lastState=3:ContainerState ready=4:b restartCount=5:i image=6
    imageID=7 containerID=8 started=9:b? allocatedResources=10:q{} resources=11:ResourceRequirements?
    volumeMounts=12:VolumeMountStatus[]@mountPath user=13:ContainerUser?
    allocatedResourcesStatus=14:ResourceStatus[]@name stopSignal=15?
PodResourceClaimStatus name=1 resourceClaimName=2?
PodExtendedResourceClaimStatus requestMappings=1:ContainerExtendedResourceRequest[] resourceClaimName=2
NodeAllocatableResourceClaimStatus resourceClaimName=1 containers=2[]
    mapping=4:NodeAllocatableMappedResources[]@name overhead=5:NodeAllocatableOverheadResources[]@name
PodVolumeHealth name=1 healthConditions=2:VolumeHealthCondition[]@status lastTransitionTime=3:t
VolumeSource hostPath=1:HostPathVolumeSource? emptyDir=2:EmptyDirVolumeSource? secret=6:SecretVolumeSource?
    nfs=7:NFSVolumeSource? persistentVolumeClaim=10:PersistentVolumeClaimVolumeSource?
    downwardAPI=16:DownwardAPIVolumeSource? configMap=19:ConfigMapVolumeSource? projected=26:ProjectedVolumeSource?
    csi=28:CSIVolumeSource? ephemeral=29:EphemeralVolumeSource? image=30:ImageVolumeSource?
ContainerPort name=1 hostPort=2:i containerPort=3:i protocol=4 hostIP=5
EnvFromSource prefix=1 configMapRef=2:ConfigMapEnvSource? secretRef=3:SecretEnvSource?
EnvVar name=1 value=2 valueFrom=3:EnvVarSource?
ContainerResizePolicy resourceName=1 restartPolicy=2
ContainerRestartRule action=1 exitCodes=2:ContainerRestartRuleOnExitCodes?
VolumeMount name=1 readOnly=2:b recursiveReadOnly=7? mountPath=3 subPath=4 mountPropagation=5? subPathExpr=6
    bindMountOptions=8[]
VolumeDevice name=1 devicePath=2
Probe +handler=1:ProbeHandler initialDelaySeconds=2:i timeoutSeconds=3:i periodSeconds=4:i successThreshold=5:i
    failureThreshold=6:i terminationGracePeriodSeconds=7:i?
Lifecycle postStart=1:LifecycleHandler? preStop=2:LifecycleHandler? stopSignal=3?
SecurityContext capabilities=1:Capabilities? privileged=2:b? seLinuxOptions=3:SELinuxOptions?
    windowsOptions=10:WindowsSecurityContextOptions? runAsUser=4:i? runAsGroup=8:i? runAsNonRoot=5:b?
    readOnlyRootFilesystem=6:b? allowPrivilegeEscalation=7:b? procMount=9? seccompProfile=11:SeccompProfile?
    appArmorProfile=12:AppArmorProfile?
SELinuxOptions user=1 role=2 type=3 level=4
WindowsSecurityContextOptions gmsaCredentialSpecName=1? gmsaCredentialSpec=2? runAsUserName=3? hostProcess=4:b?
Sysctl name=1 value=2
SeccompProfile type=1 localhostProfile=2?
AppArmorProfile type=1 localhostProfile=2?
NodeAffinity requiredDuringSchedulingIgnoredDuringExecution=1:NodeSelector?
    preferredDuringSchedulingIgnoredDuringExecution=2:PreferredSchedulingTerm[]
PodAffinity requiredDuringSchedulingIgnoredDuringExecution=1:PodAffinityTerm[]
    preferredDuringSchedulingIgnoredDuringExecution=2:WeightedPodAffinityTerm[]
PodAntiAffinity requiredDuringSchedulingIgnoredDuringExecution=1:PodAffinityTerm[]
    preferredDuringSchedulingIgnoredDuringExecution=2:WeightedPodAffinityTerm[]
PodDNSConfigOption name=1 value=2?
ResourceClaim name=1 request=2
ContainerState waiting=1:ContainerStateWaiting? running=2:ContainerStateRunning?
    terminated=3:ContainerStateTerminated?
VolumeMountStatus name=1 mountPath=2 readOnly=3:b recursiveReadOnly=4? volumeStatus=5:VolumeStatus?
ContainerUser linux=1:LinuxContainerUser?
ResourceStatus name=1 resources=2:ResourceHealth[]
ContainerExtendedResourceRequest containerName=1 resourceName=2 requestName=3
NodeAllocatableMappedResources name=1 quantity=2:q?
NodeAllocatableOverheadResources name=1 perPod=2:q? perContainer=3:q?
VolumeHealthCondition status=1 reason=2 message=3
HostPathVolumeSource path=1 type=2?
EmptyDirVolumeSource medium=1 sizeLimit=2:q? mode=3:i?
SecretVolumeSource secretName=1 items=2:KeyToPath[] defaultMode=3:i? optional=4:b? defaultUser=5:i?
NFSVolumeSource server=1 path=2 readOnly=3:b
PersistentVolumeClaimVolumeSource claimName=1 readOnly=2:b
DownwardAPIVolumeSource items=1:DownwardAPIVolumeFile[] defaultMode=2:i? defaultUser=3:i?
ConfigMapVolumeSource +localObjectReference=1:LocalObjectReference items=2:KeyToPath[] defaultMode=3:i?
    optional=4:b? defaultUser=5:i?
ProjectedVolumeSource sources=1:VolumeProjection[] defaultMode=2:i? defaultUser=3:i?
CSIVolumeSource driver=1 readOnly=2:b? fsType=3? volumeAttributes=4{} nodePublishSecretRef=5:LocalObjectReference?
EphemeralVolumeSource volumeClaimTemplate=1:PersistentVolumeClaimTemplate?
ImageVolumeSource reference=1 pullPolicy=2
ConfigMapEnvSource +localObjectReference=1:LocalObjectReference optional=2:b?
SecretEnvSource +localObjectReference=1:LocalObjectReference optional=2:b?
EnvVarSource fieldRef=1:ObjectFieldSelector? resourceFieldRef=2:ResourceFieldSelector?
    configMapKeyRef=3:ConfigMapKeySelector? secretKeyRef=4:SecretKeySelector? fileKeyRef=5:FileKeySelector?
ContainerRestartRuleOnExitCodes operator=1 values=2:i[]
ProbeHandler exec=1:ExecAction? httpGet=2:HTTPGetAction? tcpSocket=3:TCPSocketAction? grpc=4:GRPCAction?
LifecycleHandler exec=1:ExecAction? httpGet=2:HTTPGetAction? tcpSocket=3:TCPSocketAction? sleep=4:SleepAction?
Capabilities add=1[] drop=2[]
NodeSelector nodeSelectorTerms=1:NodeSelectorTerm[]
PreferredSchedulingTerm weight=1:i preference=2:NodeSelectorTerm
PodAffinityTerm labelSelector=1:LabelSelector? namespaces=2[] topologyKey=3 namespaceSelector=4:LabelSelector?
    matchLabelKeys=5[] mismatchLabelKeys=6[]
WeightedPodAffinityTerm weight=1:i podAffinityTerm=2:PodAffinityTerm
ContainerStateWaiting reason=1 message=2
ContainerStateRunning startedAt=1:t
ContainerStateTerminated exitCode=1:i signal=2:i reason=3 message=4 startedAt=5:t finishedAt=6:t containerID=7
VolumeStatus image=1:ImageVolumeStatus?
LinuxContainerUser uid=1:i gid=2:i supplementalGroups=3:i[]
ResourceHealth resourceID=1 health=2 message=6?
KeyToPath key=1 path=2 mode=3:i? user=4:i?
DownwardAPIVolumeFile path=1 fieldRef=2:ObjectFieldSelector? resourceFieldRef=3:ResourceFieldSelector? mode=4:i?
    user=5:i?
VolumeProjection secret=1:SecretProjection? downwardAPI=2:DownwardAPIProjection? configMap=3:ConfigMapProjection?
    serviceAccountToken=4:ServiceAccountTokenProjection?
PersistentVolumeClaimTemplate metadata=1:ObjectMeta spec=2:PersistentVolumeClaimSpec
ObjectFieldSelector apiVersion=1 fieldPath=2
ResourceFieldSelector containerName=1 resource=2 divisor=3:q
ConfigMapKeySelector +localObjectReference=1:LocalObjectReference key=2 optional=3:b?
SecretKeySelector +localObjectReference=1:LocalObjectReference key=2 optional=3:b?
FileKeySelector volumeName=1 path=2 key=3 optional=4:b?
ExecAction command=1[]
HTTPGetAction path=1 port=2:x host=3 scheme=4 httpHeaders=5:HTTPHeader[] protocol=6?
TCPSocketAction port=1:x host=2
GRPCAction port=1:i service=2? mode=3?
SleepAction seconds=1:i
NodeSelectorTerm matchExpressions=1:NodeSelectorRequirement[] matchFields=2:NodeSelectorRequirement[]
ImageVolumeStatus imageRef=1
SecretProjection +localObjectReference=1:LocalObjectReference items=2:KeyToPath[] optional=4:b?
DownwardAPIProjection items=1:DownwardAPIVolumeFile[]
ConfigMapProjection +localObjectReference=1:LocalObjectReference items=2:KeyToPath[] optional=4:b?
ServiceAccountTokenProjection audience=1 expirationSeconds=2:i? path=3 user=4:i?
PersistentVolumeClaimSpec accessModes=1[] selector=4:LabelSelector? resources=2:VolumeResourceRequirements
    volumeName=3 storageClassName=5? volumeMode=6? dataSource=7:TypedLocalObjectReference?
    dataSourceRef=8:TypedObjectReference? volumeAttributesClassName=9?
HTTPHeader name=1 value=2
NodeSelectorRequirement key=1 operator=2 values=3[]
VolumeResourceRequirements limits=1:q{} requests=2:q{}
TypedLocalObjectReference apiGroup=1? kind=2 name=3
TypedObjectReference apiGroup=1? kind=2 name=3 namespace=4?
"""
