"""The fields of the meta types and of every kind but Pod, in the notation explained in `fields_pod`.

Source of names, numbers and patch keys: generated.proto of meta/v1, core/v1, policy/v1, authentication/v1 and
authorization/v1 in kubernetes/apimachinery and kubernetes/api, mid 2026.
"""

OTHER_FIELDS = """
ObjectMeta name=1 generateName=2 namespace=3 selfLink=4 uid=5 resourceVersion=6 generation=7:i creationTimestamp=8:t
    deletionTimestamp=9:t? deletionGracePeriodSeconds=10:i? labels=11{} annotations=12{}
    ownerReferences=13:OwnerReference[]@uid finalizers=14[]@ managedFields=17:r[]
OwnerReference apiVersion=5 kind=1 name=3 uid=4 controller=6:b? blockOwnerDeletion=7:b?
LabelSelector matchLabels=1{} matchExpressions=2:LabelSelectorRequirement[]
LabelSelectorRequirement key=1 operator=2 values=3[]
ListMeta selfLink=1 resourceVersion=2 continue=3 remainingItemCount=4:i?
Status metadata=1:ListMeta status=2 message=3 reason=4 details=5:StatusDetails? code=6:i
StatusDetails name=1 group=2 kind=3 uid=6 causes=4:StatusCause[] retryAfterSeconds=5:i
StatusCause reason=1 message=2 field=3
DeleteOptions gracePeriodSeconds=1:i? preconditions=2:Preconditions? orphanDependents=3:b? propagationPolicy=4?
    dryRun=5[] ignoreStoreReadErrorWithClusterBreakingPotential=6:b?
Preconditions uid=1? resourceVersion=2?
PartialObjectMetadata metadata=1:ObjectMeta
Eviction metadata=1:ObjectMeta deleteOptions=2:DeleteOptions?
SelfSubjectReview metadata=1:ObjectMeta status=2:SelfSubjectReviewStatus
SelfSubjectReviewStatus userInfo=1:UserInfo
UserInfo username=1 uid=2 groups=3[]
SelfSubjectAccessReview metadata=1:ObjectMeta spec=2:SelfSubjectAccessReviewSpec status=3:SubjectAccessReviewStatus
SelfSubjectAccessReviewSpec resourceAttributes=1:ResourceAttributes? nonResourceAttributes=2:NonResourceAttributes?
ResourceAttributes namespace=1 verb=2 group=3 version=4 resource=5 subresource=6 name=7 fieldSelector=8:r?
    labelSelector=9:r?
NonResourceAttributes path=1 verb=2
SubjectAccessReviewStatus allowed=1:b denied=4:b reason=2 evaluationError=3
Namespace metadata=1:ObjectMeta spec=2:NamespaceSpec status=3:NamespaceStatus
Node metadata=1:ObjectMeta spec=2:NodeSpec status=3:NodeStatus
Event metadata=1:ObjectMeta involvedObject=2:ObjectReference reason=3 message=4 source=5:EventSource
    firstTimestamp=6:t lastTimestamp=7:t count=8:i type=9 eventTime=10:u series=11:EventSeries? action=12
    related=13:ObjectReference? reportingComponent=14 reportingInstance=15
ResourceQuota metadata=1:ObjectMeta spec=2:ResourceQuotaSpec status=3:ResourceQuotaStatus
ConfigMap metadata=1:ObjectMeta immutable=4:b? data=2{} binaryData=3:y{}
ServiceAccount metadata=1:ObjectMeta secrets=2:ObjectReference[]@name imagePullSecrets=3:LocalObjectReference[]
    automountServiceAccountToken=4:b?
Secret metadata=1:ObjectMeta immutable=5:b? data=2:y{} stringData=4{} type=3
Binding metadata=1:ObjectMeta target=2:ObjectReference
NamespaceSpec finalizers=1[]
NamespaceStatus phase=1 conditions=2:NamespaceCondition[]@type
NodeSpec podCIDR=1 podCIDRs=7[]@ providerID=3 unschedulable=4:b taints=5:Taint[] externalID=2
NodeStatus capacity=1:q{} allocatable=2:q{} phase=3 conditions=4:NodeCondition[]@type addresses=5:NodeAddress[]@type
    daemonEndpoints=6:NodeDaemonEndpoints nodeInfo=7:NodeSystemInfo images=8:ContainerImage[] volumesInUse=9[]
    volumesAttached=10:AttachedVolume[] features=13:NodeFeatures? declaredFeatures=14[]
ObjectReference kind=1 namespace=2 name=3 uid=4 apiVersion=5 resourceVersion=6 fieldPath=7
EventSource component=1 host=2
EventSeries count=1:i lastObservedTime=2:u
ResourceQuotaSpec hard=1:q{} scopes=2[] scopeSelector=3:ScopeSelector?
ResourceQuotaStatus hard=1:q{} used=2:q{}
NamespaceCondition type=1 status=2 lastTransitionTime=4:t reason=5 message=6
Taint key=1 value=2 effect=3 timeAdded=4:t?
NodeCondition type=1 status=2 lastHeartbeatTime=3:t lastTransitionTime=4:t reason=5 message=6
NodeAddress type=1 address=2
NodeDaemonEndpoints kubeletEndpoint=1:DaemonEndpoint
NodeSystemInfo machineID=1 systemUUID=2 bootID=3 kernelVersion=4 osImage=5 containerRuntimeVersion=6
    kubeletVersion=7 kubeProxyVersion=8 operatingSystem=9 architecture=10 swap=11:NodeSwapStatus?
ContainerImage names=1[] sizeBytes=2:i
AttachedVolume name=1 devicePath=2
NodeFeatures supplementalGroupsPolicy=1:b?
ScopeSelector matchExpressions=1:ScopedResourceSelectorRequirement[]
DaemonEndpoint Port=1:i
NodeSwapStatus capacity=1:i?
ScopedResourceSelectorRequirement scopeName=1 operator=2 values=3[]
"""
