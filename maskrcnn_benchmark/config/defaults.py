"""Every configuration key with its default, meaning and unit.

The keys and values of the original are unchanged (DEVICE may fall back, see below); MODEL.CROWD,
DOTA and SOLVER.SEED are new. A tuple stays a tuple, a list a list: yacs compares types when a file
is merged.
"""

import os

from yacs.config import CfgNode as CN

_C = CN()


# The detector
_C.MODEL = CN()
_C.MODEL.CLS_AGNOSTIC_BBOX_REG = False  # one box regression for all classes instead of one each
# "cuda" or "cpu"; the tools fall back to the CPU where there is no GPU, and say so
_C.MODEL.DEVICE = "cuda"
_C.MODEL.KEYPOINT_ON = False  # add the keypoint head
_C.MODEL.MASK_ON = False  # add the mask head
_C.MODEL.META_ARCHITECTURE = "GeneralizedRCNN"  # detector class
_C.MODEL.RETINANET_ON = False  # one-stage RetinaNet instead of RPN and heads
_C.MODEL.RPN_ONLY = False  # train and judge the proposals only; no heads
# first weights: a .pth, a Detectron .pkl, a URL or catalog://NAME; "" starts from random ones
_C.MODEL.WEIGHT = ""

# Crowded images: see structures/crowd.py
_C.MODEL.CROWD = CN()
# boxlist_iou takes the crowd path above this many rows (ground-truth boxes)
_C.MODEL.CROWD.IOU_ROWS = 100
# Matcher.set_low_quality_matches_ takes the crowd path above this many rows
_C.MODEL.CROWD.MATCH_ROWS = 1000
# "stream": in blocks on the boxes' device; "cpu": on the CPU, result brought back; "off": dense
_C.MODEL.CROWD.MODE = "stream"
_C.MODEL.CROWD.BLOCK_MB = 64  # working memory of the crowd path, MB

# From image file to tensor
_C.INPUT = CN()
_C.INPUT.BRIGHTNESS = 0.0  # strength of the random change, 0 is off (torchvision ColorJitter)
_C.INPUT.CONTRAST = 0.0  # as BRIGHTNESS
_C.INPUT.HORIZONTAL_FLIP_PROB_TRAIN = 0.5  # probability of a left-right flip
_C.INPUT.HUE = 0.0  # as BRIGHTNESS, at most 0.5
_C.INPUT.MAX_SIZE_TEST = 1333  # upper bound of the long side, pixels
_C.INPUT.MAX_SIZE_TRAIN = 1333  # upper bound of the long side, pixels
_C.INPUT.MIN_SIZE_TEST = 800  # short side, pixels
# short side after resizing, pixels; several: one is drawn for each image
_C.INPUT.MIN_SIZE_TRAIN = (800,)
# subtracted from each channel, in the order and scale that TO_BGR255 sets
_C.INPUT.PIXEL_MEAN = [102.9801, 115.9465, 122.7717]
_C.INPUT.PIXEL_STD = [1.0, 1.0, 1.0]  # each channel is divided by this
_C.INPUT.SATURATION = 0.0  # as BRIGHTNESS
_C.INPUT.TO_BGR255 = True  # True: the network sees BGR in 0-255; False: RGB in 0-1
_C.INPUT.VERTICAL_FLIP_PROB_TRAIN = 0.0  # probability of a top-bottom flip

# Data
_C.DATASETS = CN()
_C.DATASETS.TEST = ()  # as TRAIN
# names: "dota:FOLDER", "coco:ANNOTATIONS.json:IMAGES_FOLDER", or those of PATHS_CATALOG
_C.DATASETS.TRAIN = ()

# Data loading
_C.DATALOADER = CN()
_C.DATALOADER.ASPECT_RATIO_GROUPING = True  # a batch holds only tall or only wide images
# loading processes for each training process; 0 loads in the training process
_C.DATALOADER.NUM_WORKERS = 4
_C.DATALOADER.SIZE_DIVISIBILITY = 0  # images are padded to a multiple of this, pixels (FPN: 32)

# DOTA-format data
_C.DOTA = CN()
_C.DOTA.VERSION = 1.0  # class list of "dota:" data sets: 1.0, 1.5 or 2.0
_C.DOTA.CLASSES = ()  # other class names, in label order; overrides VERSION
_C.DOTA.TILE = 1024  # larger images are cut into tiles of this side, pixels; 0 never cuts
_C.DOTA.OVERLAP = 200  # shared by neighbouring tiles, pixels
_C.DOTA.NMS_HBB = 0.5  # IoU at which upright boxes of the same class are merged over tiles
_C.DOTA.NMS_OBB = 0.1  # the same for oriented boxes

# Backbone
_C.MODEL.BACKBONE = CN()
_C.MODEL.BACKBONE.CONV_BODY = "R-50-C4"  # key in registry.BACKBONES
# stages below this index stay as loaded: 0 none, 1 stem, 2 stem and layer1 …
_C.MODEL.BACKBONE.FREEZE_CONV_BODY_AT = 2

# Feature pyramid
_C.MODEL.FPN = CN()
_C.MODEL.FPN.USE_GN = False  # GroupNorm in the pyramid
_C.MODEL.FPN.USE_RELU = False  # ReLU in the pyramid

# GroupNorm
_C.MODEL.GROUP_NORM = CN()
_C.MODEL.GROUP_NORM.DIM_PER_GP = -1  # channels a group, or -1 to set NUM_GROUPS
_C.MODEL.GROUP_NORM.EPSILON = 1e-05  # added to the variance
_C.MODEL.GROUP_NORM.NUM_GROUPS = 32  # groups, or -1 to set DIM_PER_GP

# Region proposals
_C.MODEL.RPN = CN()
# square roots of the anchors' areas, pixels of the resized image; with FPN one a level
_C.MODEL.RPN.ANCHOR_SIZES = (32, 64, 128, 256, 512)
_C.MODEL.RPN.ANCHOR_STRIDE = (16,)  # pixels between neighbouring anchors; with FPN one a level
_C.MODEL.RPN.ASPECT_RATIOS = (0.5, 1.0, 2.0)  # height / width
_C.MODEL.RPN.BATCH_SIZE_PER_IMAGE = 256  # anchors sampled for the loss
# an anchor with less IoU is negative; between the two it is ignored
_C.MODEL.RPN.BG_IOU_THRESHOLD = 0.3
_C.MODEL.RPN.FG_IOU_THRESHOLD = 0.7  # an anchor with at least this IoU is positive
# in training, count that limit over the whole batch instead of each image
_C.MODEL.RPN.FPN_POST_NMS_PER_BATCH = True
_C.MODEL.RPN.FPN_POST_NMS_TOP_N_TEST = 2000  # as above, for each image
_C.MODEL.RPN.FPN_POST_NMS_TOP_N_TRAIN = 2000  # proposals kept over all levels
_C.MODEL.RPN.MIN_SIZE = 0  # proposals with a shorter side are dropped, pixels
_C.MODEL.RPN.NMS_THRESH = 0.7  # IoU
_C.MODEL.RPN.POSITIVE_FRACTION = 0.5  # of them positive, at most
_C.MODEL.RPN.POST_NMS_TOP_N_TEST = 1000  # as POST_NMS_TOP_N_TRAIN
_C.MODEL.RPN.POST_NMS_TOP_N_TRAIN = 2000  # proposals of a level that leave NMS
_C.MODEL.RPN.PRE_NMS_TOP_N_TEST = 6000  # as PRE_NMS_TOP_N_TRAIN
_C.MODEL.RPN.PRE_NMS_TOP_N_TRAIN = 12000  # best anchors of a level that enter NMS
_C.MODEL.RPN.RPN_HEAD = "SingleConvRPNHead"  # key in registry.RPN_HEADS
# anchors further outside the image than this are not trained, pixels; -1 keeps all
_C.MODEL.RPN.STRADDLE_THRESH = 0
_C.MODEL.RPN.USE_FPN = False  # anchors on every level of the pyramid

# What the heads share
_C.MODEL.ROI_HEADS = CN()
_C.MODEL.ROI_HEADS.BATCH_SIZE_PER_IMAGE = 512  # proposals sampled for the loss
_C.MODEL.ROI_HEADS.BBOX_REG_WEIGHTS = (10.0, 10.0, 5.0, 5.0)  # factors of dx, dy, dw, dh
_C.MODEL.ROI_HEADS.BG_IOU_THRESHOLD = 0.5  # a proposal with less IoU is background
# best detections kept of an image (of a tile); DOTA configs set 2000
_C.MODEL.ROI_HEADS.DETECTIONS_PER_IMG = 100
_C.MODEL.ROI_HEADS.FG_IOU_THRESHOLD = 0.5  # a proposal with at least this IoU is positive
_C.MODEL.ROI_HEADS.NMS = 0.5  # IoU, class by class
_C.MODEL.ROI_HEADS.POSITIVE_FRACTION = 0.25  # of them positive, at most
_C.MODEL.ROI_HEADS.SCORE_THRESH = 0.05  # detections below this score are dropped
_C.MODEL.ROI_HEADS.USE_FPN = False  # heads pool from every level of the pyramid

# Box head
_C.MODEL.ROI_BOX_HEAD = CN()
_C.MODEL.ROI_BOX_HEAD.CONV_HEAD_DIM = 256  # channels of the stacked convolutions
_C.MODEL.ROI_BOX_HEAD.DILATION = 1  # of the convolutions
# key in the registry of feature extractors
_C.MODEL.ROI_BOX_HEAD.FEATURE_EXTRACTOR = "ResNet50Conv5ROIFeatureExtractor"
_C.MODEL.ROI_BOX_HEAD.MLP_HEAD_DIM = 1024  # width of the fully connected layers
_C.MODEL.ROI_BOX_HEAD.NUM_CLASSES = 81  # classes, background included
_C.MODEL.ROI_BOX_HEAD.NUM_STACKED_CONVS = 4  # stacked convolutions
_C.MODEL.ROI_BOX_HEAD.POOLER_RESOLUTION = 14  # side of the pooled grid, cells
_C.MODEL.ROI_BOX_HEAD.POOLER_SAMPLING_RATIO = 0  # samples a side of a cell; 0 adapts to the box
_C.MODEL.ROI_BOX_HEAD.POOLER_SCALES = (0.0625,)  # feature pixels / image pixels, one a level
_C.MODEL.ROI_BOX_HEAD.PREDICTOR = "FastRCNNPredictor"  # key in the registry of predictors
_C.MODEL.ROI_BOX_HEAD.USE_GN = False  # GroupNorm in the head

# Mask head
_C.MODEL.ROI_MASK_HEAD = CN()
_C.MODEL.ROI_MASK_HEAD.CONV_LAYERS = (256, 256, 256, 256)  # channels of the convolutions
_C.MODEL.ROI_MASK_HEAD.DILATION = 1  # of the convolutions
# key in the registry of feature extractors
_C.MODEL.ROI_MASK_HEAD.FEATURE_EXTRACTOR = "ResNet50Conv5ROIFeatureExtractor"
_C.MODEL.ROI_MASK_HEAD.MLP_HEAD_DIM = 1024  # width of the fully connected layers
_C.MODEL.ROI_MASK_HEAD.POOLER_RESOLUTION = 14  # side of the pooled grid, cells
_C.MODEL.ROI_MASK_HEAD.POOLER_SAMPLING_RATIO = 0  # samples a side of a cell; 0 adapts to the box
_C.MODEL.ROI_MASK_HEAD.POOLER_SCALES = (0.0625,)  # feature pixels / image pixels, one a level
_C.MODEL.ROI_MASK_HEAD.POSTPROCESS_MASKS = False  # paste masks into the image inside the model
_C.MODEL.ROI_MASK_HEAD.POSTPROCESS_MASKS_THRESHOLD = 0.5  # probability from which a pixel is inside
_C.MODEL.ROI_MASK_HEAD.PREDICTOR = "MaskRCNNC4Predictor"  # key in the registry of predictors
_C.MODEL.ROI_MASK_HEAD.RESOLUTION = 14  # side of the predicted grid, cells
_C.MODEL.ROI_MASK_HEAD.SHARE_BOX_FEATURE_EXTRACTOR = True  # use the box head's features
_C.MODEL.ROI_MASK_HEAD.USE_GN = False  # GroupNorm in the head

# Keypoint head
_C.MODEL.ROI_KEYPOINT_HEAD = CN()
# channels of the convolutions
_C.MODEL.ROI_KEYPOINT_HEAD.CONV_LAYERS = (512, 512, 512, 512, 512, 512, 512, 512)
# key in the registry of feature extractors
_C.MODEL.ROI_KEYPOINT_HEAD.FEATURE_EXTRACTOR = "KeypointRCNNFeatureExtractor"
_C.MODEL.ROI_KEYPOINT_HEAD.MLP_HEAD_DIM = 1024  # width of the fully connected layers
_C.MODEL.ROI_KEYPOINT_HEAD.NUM_CLASSES = 17  # classes, background included
_C.MODEL.ROI_KEYPOINT_HEAD.POOLER_RESOLUTION = 14  # side of the pooled grid, cells
# samples a side of a cell; 0 adapts to the box
_C.MODEL.ROI_KEYPOINT_HEAD.POOLER_SAMPLING_RATIO = 0
_C.MODEL.ROI_KEYPOINT_HEAD.POOLER_SCALES = (0.0625,)  # feature pixels / image pixels, one a level
_C.MODEL.ROI_KEYPOINT_HEAD.PREDICTOR = "KeypointRCNNPredictor"  # key in the registry of predictors
_C.MODEL.ROI_KEYPOINT_HEAD.RESOLUTION = 14  # side of the predicted grid, cells
_C.MODEL.ROI_KEYPOINT_HEAD.SHARE_BOX_FEATURE_EXTRACTOR = True  # use the box head's features

# ResNet
_C.MODEL.RESNETS = CN()
# channels of the features (C4) or of each level (FPN)
_C.MODEL.RESNETS.BACKBONE_OUT_CHANNELS = 1024
_C.MODEL.RESNETS.DEFORMABLE_GROUPS = 1  # offset groups
_C.MODEL.RESNETS.NUM_GROUPS = 1  # groups of the 3x3 convolutions (ResNeXt)
_C.MODEL.RESNETS.RES2_OUT_CHANNELS = 256  # channels that layer1 puts out; doubled stage by stage
_C.MODEL.RESNETS.RES5_DILATION = 1  # 1 or 2
# deformable convolutions in layer1 … layer4
_C.MODEL.RESNETS.STAGE_WITH_DCN = (False, False, False, False)
_C.MODEL.RESNETS.STEM_FUNC = "StemWithFixedBatchNorm"  # stem class
_C.MODEL.RESNETS.STEM_OUT_CHANNELS = 64  # channels of the stem
# the stride sits in the first 1x1 convolution (MSRA, Caffe2), not in the 3x3 (torchvision)
_C.MODEL.RESNETS.STRIDE_IN_1X1 = True
_C.MODEL.RESNETS.TRANS_FUNC = "BottleneckWithFixedBatchNorm"  # block class
_C.MODEL.RESNETS.WIDTH_PER_GROUP = 64  # channels of such a group in layer1
_C.MODEL.RESNETS.WITH_MODULATED_DCN = False  # version 2 of them

# RetinaNet
_C.MODEL.RETINANET = CN()
_C.MODEL.RETINANET.ANCHOR_SIZES = (32, 64, 128, 256, 512)  # pixels
_C.MODEL.RETINANET.ANCHOR_STRIDES = (8, 16, 32, 64, 128)  # pixels
_C.MODEL.RETINANET.ASPECT_RATIOS = (0.5, 1.0, 2.0)  # height / width
_C.MODEL.RETINANET.BBOX_REG_BETA = 0.11  # where smooth L1 turns linear
_C.MODEL.RETINANET.BBOX_REG_WEIGHT = 4.0  # weight of the regression loss
_C.MODEL.RETINANET.BG_IOU_THRESHOLD = 0.4  # IoU
_C.MODEL.RETINANET.FG_IOU_THRESHOLD = 0.5  # IoU
_C.MODEL.RETINANET.INFERENCE_TH = 0.05  # lowest score
_C.MODEL.RETINANET.LOSS_ALPHA = 0.25  # of the focal loss
_C.MODEL.RETINANET.LOSS_GAMMA = 2.0  # of the focal loss
_C.MODEL.RETINANET.NMS_TH = 0.4  # IoU
_C.MODEL.RETINANET.NUM_CLASSES = 81  # classes, background included
_C.MODEL.RETINANET.NUM_CONVS = 4  # convolutions of each tower
_C.MODEL.RETINANET.OCTAVE = 2.0  # ratio between two levels' sizes
_C.MODEL.RETINANET.PRE_NMS_TOP_N = 1000  # best boxes of a level that enter NMS
_C.MODEL.RETINANET.PRIOR_PROB = 0.01  # first foreground probability
_C.MODEL.RETINANET.SCALES_PER_OCTAVE = 3  # anchor sizes a level
_C.MODEL.RETINANET.STRADDLE_THRESH = 0  # as in MODEL.RPN
_C.MODEL.RETINANET.USE_C5 = True  # P6 from C5 instead of P5

# FBNet
_C.MODEL.FBNET = CN()
_C.MODEL.FBNET.ARCH = "default"  # name in the architecture table
_C.MODEL.FBNET.ARCH_DEF = ""  # architecture as JSON, overrides ARCH
_C.MODEL.FBNET.BN_TYPE = "bn"  # bn, gn or af
_C.MODEL.FBNET.DET_HEAD_BLOCKS = []  # overrides the architecture's blocks
_C.MODEL.FBNET.DET_HEAD_LAST_SCALE = 1.0  # channel multiplier of the head's last layer
_C.MODEL.FBNET.DET_HEAD_STRIDE = 0  # overrides the architecture's stride
_C.MODEL.FBNET.DW_CONV_SKIP_BN = True  # no norm between depthwise and pointwise
_C.MODEL.FBNET.DW_CONV_SKIP_RELU = True  # no ReLU there
_C.MODEL.FBNET.KPTS_HEAD_BLOCKS = []  # as for the box head
_C.MODEL.FBNET.KPTS_HEAD_LAST_SCALE = 0.0  # as for the box head
_C.MODEL.FBNET.KPTS_HEAD_STRIDE = 0  # as for the box head
_C.MODEL.FBNET.MASK_HEAD_BLOCKS = []  # as for the box head
_C.MODEL.FBNET.MASK_HEAD_LAST_SCALE = 0.0  # as for the box head
_C.MODEL.FBNET.MASK_HEAD_STRIDE = 0  # as for the box head
_C.MODEL.FBNET.RPN_BN_TYPE = ""  # norm of the RPN head, empty: BN_TYPE
_C.MODEL.FBNET.RPN_HEAD_BLOCKS = 0  # blocks of the RPN head
_C.MODEL.FBNET.SCALE_FACTOR = 1.0  # channel multiplier
_C.MODEL.FBNET.WIDTH_DIVISOR = 1  # channels are multiples of this

# Training
_C.SOLVER = CN()
_C.SOLVER.BASE_LR = 0.001  # learning rate after the warm-up
_C.SOLVER.BIAS_LR_FACTOR = 2  # biases learn at BASE_LR times this
_C.SOLVER.CHECKPOINT_PERIOD = 2500  # iterations between checkpoints
_C.SOLVER.GAMMA = 0.1  # the learning rate is multiplied by this at each of STEPS
_C.SOLVER.IMS_PER_BATCH = 16  # images a step, over all processes
_C.SOLVER.MAX_ITER = 40000  # training ends after this many iterations
_C.SOLVER.MOMENTUM = 0.9  # of SGD
_C.SOLVER.STEPS = (30000,)  # iterations
_C.SOLVER.TEST_PERIOD = 0  # iterations between evaluations in training; 0 is never
_C.SOLVER.WARMUP_FACTOR = 1.0 / 3  # first learning rate / BASE_LR
_C.SOLVER.WARMUP_ITERS = 500  # iterations
_C.SOLVER.WARMUP_METHOD = "linear"  # "linear" or "constant"
_C.SOLVER.WEIGHT_DECAY = 0.0005  # of weights
_C.SOLVER.WEIGHT_DECAY_BIAS = 0  # of biases
_C.SOLVER.SEED = 0  # of the first weights, the data order, the augmentation and the sampling

# Evaluation
_C.TEST = CN()
_C.TEST.DETECTIONS_PER_IMG = 100  # limit after test-time augmentation
_C.TEST.EXPECTED_RESULTS = []  # [task, metric, mean, std] rows that the results are checked against
_C.TEST.EXPECTED_RESULTS_SIGMA_TOL = 4  # allowed deviation, in std
_C.TEST.IMS_PER_BATCH = 8  # images a forward pass, over all processes

# Test-time augmentation
_C.TEST.BBOX_AUG = CN()
_C.TEST.BBOX_AUG.ENABLED = False  # test-time augmentation
_C.TEST.BBOX_AUG.H_FLIP = False  # add the left-right flip
_C.TEST.BBOX_AUG.MAX_SIZE = 4000  # long side, pixels
_C.TEST.BBOX_AUG.SCALES = ()  # short sides, pixels
_C.TEST.BBOX_AUG.SCALE_H_FLIP = False  # flip at each scale too

# The run
_C.AMP_VERBOSE = False  # kept for old files; without effect
_C.DTYPE = "float32"  # "float32", or "float16" / "bfloat16" for mixed precision (torch.autocast)
_C.OUTPUT_DIR = "."  # folder of checkpoints, logs and results
# file with DatasetCatalog and ModelCatalog
_C.PATHS_CATALOG = os.path.join(os.path.dirname(__file__), "paths_catalog.py")
