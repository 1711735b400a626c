"""Every configuration key with its default, meaning and unit.

The keys and values of the original are unchanged. New are MODEL.CROWD, MODEL.ORIENTED, DOTA,
MODEL.CHANNELS_LAST, MODEL.CHECKPOINT_BODY, MODEL.FAST_ROI_ALIGN, MODEL.FOLD_BATCH_NORM,
SOLVER.ACCUMULATE, SOLVER.CLIP_GRADIENT, SOLVER.EMA, SOLVER.SEED, SOLVER.STEP_TIMEOUT,
TEST.CHANNELS_LAST, INPUT.DIAGONAL_FLIP_PROB_TRAIN and INPUT.ROTATE_…. A tuple stays a tuple, a
list a list: yacs compares types when a file is merged.
"""

import os

from yacs.config import CfgNode as CN


class _YamlSettings(CN):
    """Settings that read YAML alone: yacs would run a file of settings whose name ends in .py."""

    _decode_cfg_value = CN._decode_cfg_value  # sections, which are compared by class, are CN's

    def merge_from_file(self, cfg_filename: str) -> None:
        """Merge a YAML file; keys that are not there are refused (KeyError)."""
        if os.path.splitext(cfg_filename)[1] == ".py":
            raise ValueError(f"{cfg_filename}: settings are YAML; Python files are not run")
        super().merge_from_file(cfg_filename)


_C = _YamlSettings()


# The detector
_C.MODEL = CN()
# one box regression for all classes instead of one per class
_C.MODEL.CLS_AGNOSTIC_BBOX_REG = False
# the convolutions' data lie channels last in memory, which is faster on most processors and GPUs;
# the last bits differ
_C.MODEL.CHANNELS_LAST = False
# keep only the input of each residual block of a ResNet in training and compute what is inside
# again for the gradients: less memory, the same numbers, about a third more time
_C.MODEL.CHECKPOINT_BODY = False
# on the CPU, RoIAlign sums pixels up in one step, in a fraction of the time; the last bits differ.
# No effect where POOLER_SAMPLING_RATIO is 0
_C.MODEL.FAST_ROI_ALIGN = False
# multiply the weights of a ResNet's convolutions, not their outputs, by the frozen batch norms'
# factors: faster; the last bits differ, and forward hooks of these layers are not called
_C.MODEL.FOLD_BATCH_NORM = False
# "cuda", "cuda:N" or "cpu"; the tools fall back to the CPU where there is no GPU, and say so
_C.MODEL.DEVICE = "cuda"
_C.MODEL.KEYPOINT_ON = False  # add the keypoint head
_C.MODEL.MASK_ON = False  # add the mask head
_C.MODEL.META_ARCHITECTURE = "GeneralizedRCNN"  # detector class; there is this one
_C.MODEL.RETINANET_ON = False  # one-stage RetinaNet instead of proposals and heads
_C.MODEL.RPN_ONLY = False  # train and evaluate the proposals only, without heads
# first weights: a .pth, a Detectron .pkl, a URL, catalog://NAME or torchvision://NAME; "": random
_C.MODEL.WEIGHT = ""

# Crowded images: see structures/crowd.py
_C.MODEL.CROWD = CN()
# boxlist_iou takes the crowd path above this many rows (ground-truth boxes)
_C.MODEL.CROWD.IOU_ROWS = 100
# Matcher.set_low_quality_matches_ takes the crowd path above this many rows (ground-truth boxes)
_C.MODEL.CROWD.MATCH_ROWS = 1000
# "stream": in blocks on the boxes' device; "cpu": on the CPU, result brought back; "off": dense
_C.MODEL.CROWD.MODE = "stream"
_C.MODEL.CROWD.BLOCK_MB = 64  # working memory of the crowd path, MB (2^20 bytes)

# From image file to tensor
_C.INPUT = CN()
_C.INPUT.BRIGHTNESS = 0.0  # greatest random change of the brightness in training, relative; 0: none
_C.INPUT.CONTRAST = 0.0  # greatest random change of the contrast in training, relative; 0: none
# probability of a left-right and top-bottom flip at once (half a turn) in training, drawn apart
# from the single flips; where those have 0.5 each, all four views are equally frequent without it
_C.INPUT.DIAGONAL_FLIP_PROB_TRAIN = 0.0
_C.INPUT.HORIZONTAL_FLIP_PROB_TRAIN = 0.5  # probability of a left-right flip in training
# greatest random shift of the hue in training, share of the colour circle, at most 0.5; 0: none
_C.INPUT.HUE = 0.0
# an image file of more pixels is refused before it is decoded; a pixel takes 3 bytes, and up to 7
# while the file is read (12 with 16 bits a channel)
_C.INPUT.MAX_PIXELS = 2**30
# greatest long side after resizing in evaluation and prediction, pixels; prevails over
# MIN_SIZE_TEST
_C.INPUT.MAX_SIZE_TEST = 1333
# greatest long side after resizing in training, pixels; prevails over MIN_SIZE_TRAIN
_C.INPUT.MAX_SIZE_TRAIN = 1333
_C.INPUT.MIN_SIZE_TEST = 800  # short side after resizing in evaluation and prediction, pixels
# short side after resizing in training, pixels; of several one is drawn per image
_C.INPUT.MIN_SIZE_TRAIN = (800,)
# subtracted per channel, in the order and scale that TO_BGR255 sets
_C.INPUT.PIXEL_MEAN = [102.9801, 115.9465, 122.7717]
# what each channel is divided by, in the order and scale that TO_BGR255 sets
_C.INPUT.PIXEL_STD = [1.0, 1.0, 1.0]
# greatest angle of the random rotation in training, degrees either way
_C.INPUT.ROTATE_DEGREES = 180
# probability of a rotation about the image's centre in training: the image keeps its size, what
# becomes free is black, and objects whose centre leaves the image are dropped
_C.INPUT.ROTATE_PROB_TRAIN = 0.0
# an image that shows one of these classes rotates by 90, 180 or 270 degrees only, since its upright
# boxes would not fit at other angles; names of "dota:" sets, or labels (1 is the first class)
_C.INPUT.ROTATE_QUARTER_TURN_CLASSES = ()
_C.INPUT.SATURATION = 0.0  # greatest random change of the saturation in training, relative; 0: none
_C.INPUT.TO_BGR255 = True  # True: the network sees BGR in 0-255; False: RGB in 0-1
_C.INPUT.VERTICAL_FLIP_PROB_TRAIN = 0.0  # probability of a top-bottom flip in training

# Data
_C.DATASETS = CN()
# sets to evaluate on, each by itself: "dota:FOLDER", "coco:ANNOTATIONS.json:IMAGES_FOLDER", or
# names of PATHS_CATALOG
_C.DATASETS.TEST = ()
# sets to train on, as one: "dota:FOLDER", "coco:ANNOTATIONS.json:IMAGES_FOLDER", or names of
# PATHS_CATALOG
_C.DATASETS.TRAIN = ()

# Data loading
_C.DATALOADER = CN()
_C.DATALOADER.ASPECT_RATIO_GROUPING = True  # a batch holds only tall or only wide images
# loading processes per training process; 0 loads in the training process
_C.DATALOADER.NUM_WORKERS = 4
# batches are padded to a multiple of this, pixels (FPN: 32); 0: to the largest image
_C.DATALOADER.SIZE_DIVISIBILITY = 0

# DOTA-format data
_C.DOTA = CN()
_C.DOTA.VERSION = 1.0  # class list of "dota:" sets: 1.0, 1.5 or 2.0
_C.DOTA.CLASSES = ()  # class names of "dota:" sets, in label order; () takes those of VERSION
# False: an object of a class that is not listed is an error; True: it is left out, in training and
# evaluation
_C.DOTA.IGNORE_OTHER_CLASSES = False
_C.DOTA.TILE = 1024  # images larger than this are cut into tiles of this side, pixels; 0 never cuts
_C.DOTA.OVERLAP = 200  # what neighbouring tiles share, pixels
# IoU above which upright boxes of the same class found in several tiles are one object
_C.DOTA.NMS_HBB = 0.5
# IoU above which oriented boxes of the same class found in several tiles are one object
_C.DOTA.NMS_OBB = 0.1

# Backbone
_C.MODEL.BACKBONE = CN()
_C.MODEL.BACKBONE.CONV_BODY = "R-50-C4"  # key in registry.BACKBONES
# how many parts of a ResNet stay as loaded: 0 none, 1 the stem, 2 stem and layer1, ...
_C.MODEL.BACKBONE.FREEZE_CONV_BODY_AT = 2

# Feature pyramid
_C.MODEL.FPN = CN()
_C.MODEL.FPN.USE_GN = False  # GroupNorm in the pyramid
_C.MODEL.FPN.USE_RELU = False  # ReLU in the pyramid

# GroupNorm
_C.MODEL.GROUP_NORM = CN()
_C.MODEL.GROUP_NORM.DIM_PER_GP = -1  # channels per group; -1: NUM_GROUPS decides
_C.MODEL.GROUP_NORM.EPSILON = 1e-05  # added to the variance
_C.MODEL.GROUP_NORM.NUM_GROUPS = 32  # groups; -1: DIM_PER_GP decides

# Region proposals
_C.MODEL.RPN = CN()
# square roots of the anchors' areas, pixels of the resized image; with FPN one per level
_C.MODEL.RPN.ANCHOR_SIZES = (32, 64, 128, 256, 512)
# pixels of the resized image between neighbouring anchors; with FPN one per level
_C.MODEL.RPN.ANCHOR_STRIDE = (16,)
_C.MODEL.RPN.ASPECT_RATIOS = (0.5, 1.0, 2.0)  # height / width of the anchors
_C.MODEL.RPN.BATCH_SIZE_PER_IMAGE = 256  # anchors sampled per image for the loss
# an anchor with less IoU than this is background; one between it and FG_IOU_THRESHOLD is not
# trained on
_C.MODEL.RPN.BG_IOU_THRESHOLD = 0.3
_C.MODEL.RPN.FG_IOU_THRESHOLD = 0.7  # an anchor with at least this IoU is an object
# FPN_POST_NMS_TOP_N_TRAIN counts over the whole batch, not per image; Oriented R-CNN: per image
# whatever this says
_C.MODEL.RPN.FPN_POST_NMS_PER_BATCH = True
# proposals kept per image over all levels in evaluation and prediction (FPN)
_C.MODEL.RPN.FPN_POST_NMS_TOP_N_TEST = 2000
_C.MODEL.RPN.FPN_POST_NMS_TOP_N_TRAIN = 2000  # proposals kept over all levels in training (FPN)
# proposals with a shorter side are dropped, pixels of the resized image; Oriented R-CNN: none are
_C.MODEL.RPN.MIN_SIZE = 0
_C.MODEL.RPN.NMS_THRESH = 0.7  # IoU above which the lesser of two proposals of a level is dropped
_C.MODEL.RPN.POSITIVE_FRACTION = 0.5  # greatest share of objects among the sampled anchors
# proposals per level that leave NMS in evaluation and prediction; Oriented R-CNN: no limit
_C.MODEL.RPN.POST_NMS_TOP_N_TEST = 1000
# proposals per level that leave NMS in training; Oriented R-CNN: no limit
_C.MODEL.RPN.POST_NMS_TOP_N_TRAIN = 2000
# best anchors per level that enter NMS in evaluation and prediction
_C.MODEL.RPN.PRE_NMS_TOP_N_TEST = 6000
_C.MODEL.RPN.PRE_NMS_TOP_N_TRAIN = 12000  # best anchors per level that enter NMS in training
_C.MODEL.RPN.RPN_HEAD = "SingleConvRPNHead"  # key in registry.RPN_HEADS
# anchors that reach further outside the image than this are not trained on, pixels; -1 trains on
# all; Oriented R-CNN: 0 whatever this says
_C.MODEL.RPN.STRADDLE_THRESH = 0
_C.MODEL.RPN.USE_FPN = False  # anchors on every level of the pyramid

# Oriented boxes
_C.MODEL.ORIENTED = CN()
# "": upright boxes; "oriented_rcnn" (Xie et al., 2021) or "gliding_vertex" (Xu et al., 2020)
_C.MODEL.ORIENTED.METHOD = ""

# What the heads share
_C.MODEL.ROI_HEADS = CN()
_C.MODEL.ROI_HEADS.BATCH_SIZE_PER_IMAGE = 512  # proposals sampled per image for the loss
# factors of dx, dy, dw, dh; Oriented R-CNN: 10, 10, 5, 5 and 10 for the angle (RotatedBoxCoder)
_C.MODEL.ROI_HEADS.BBOX_REG_WEIGHTS = (10.0, 10.0, 5.0, 5.0)
# a proposal with less IoU than this is background; one between it and FG_IOU_THRESHOLD is not
# trained on; Oriented R-CNN: all below FG_IOU_THRESHOLD are background
_C.MODEL.ROI_HEADS.BG_IOU_THRESHOLD = 0.5
# best detections kept per image (per tile), with test-time augmentation too; DOTA configs set 2000;
# 0 keeps all
_C.MODEL.ROI_HEADS.DETECTIONS_PER_IMG = 100
_C.MODEL.ROI_HEADS.FG_IOU_THRESHOLD = 0.5  # a proposal with at least this IoU is an object
_C.MODEL.ROI_HEADS.NMS = 0.5  # IoU above which the lesser of two detections of a class is dropped
_C.MODEL.ROI_HEADS.POSITIVE_FRACTION = 0.25  # greatest share of objects among the sampled proposals
_C.MODEL.ROI_HEADS.SCORE_THRESH = 0.05  # detections are kept above this score
_C.MODEL.ROI_HEADS.USE_FPN = False  # heads pool from every level of the pyramid

# Box head; Oriented R-CNN's takes MLP_HEAD_DIM, NUM_CLASSES, POOLER_RESOLUTION, POOLER_SCALES and
# USE_GN alone, and has 2 x 2 samples in a cell
_C.MODEL.ROI_BOX_HEAD = CN()
_C.MODEL.ROI_BOX_HEAD.CONV_HEAD_DIM = 256  # channels of the stacked convolutions
_C.MODEL.ROI_BOX_HEAD.DILATION = 1  # dilation of the stacked convolutions
# key in registry.ROI_BOX_FEATURE_EXTRACTORS
_C.MODEL.ROI_BOX_HEAD.FEATURE_EXTRACTOR = "ResNet50Conv5ROIFeatureExtractor"
_C.MODEL.ROI_BOX_HEAD.MLP_HEAD_DIM = 1024  # width of the fully connected layers
# classes and the background; follows the data set where no file or option sets it
_C.MODEL.ROI_BOX_HEAD.NUM_CLASSES = 81
# number of stacked convolutions (FPNXconv1fcFeatureExtractor)
_C.MODEL.ROI_BOX_HEAD.NUM_STACKED_CONVS = 4
_C.MODEL.ROI_BOX_HEAD.POOLER_RESOLUTION = 14  # side of the pooled grid, cells
# samples along each side of a cell; 0 adapts to the box
_C.MODEL.ROI_BOX_HEAD.POOLER_SAMPLING_RATIO = 0
_C.MODEL.ROI_BOX_HEAD.POOLER_SCALES = (0.0625,)  # feature pixels / image pixels, one per level
_C.MODEL.ROI_BOX_HEAD.PREDICTOR = "FastRCNNPredictor"  # key in registry.ROI_BOX_PREDICTOR
_C.MODEL.ROI_BOX_HEAD.USE_GN = False  # GroupNorm in the head

# Mask head
_C.MODEL.ROI_MASK_HEAD = CN()
_C.MODEL.ROI_MASK_HEAD.CONV_LAYERS = (256, 256, 256, 256)  # channels of the convolutions
_C.MODEL.ROI_MASK_HEAD.DILATION = 1  # dilation of the convolutions
# key in registry.ROI_MASK_FEATURE_EXTRACTORS
_C.MODEL.ROI_MASK_HEAD.FEATURE_EXTRACTOR = "ResNet50Conv5ROIFeatureExtractor"
_C.MODEL.ROI_MASK_HEAD.MLP_HEAD_DIM = 1024  # kept for the original's files; without effect
_C.MODEL.ROI_MASK_HEAD.POOLER_RESOLUTION = 14  # side of the pooled grid, cells
# samples along each side of a cell; 0 adapts to the box
_C.MODEL.ROI_MASK_HEAD.POOLER_SAMPLING_RATIO = 0
_C.MODEL.ROI_MASK_HEAD.POOLER_SCALES = (0.0625,)  # feature pixels / image pixels, one per level
_C.MODEL.ROI_MASK_HEAD.POSTPROCESS_MASKS = False  # paste masks into the image inside the model
# probability above which a pixel of a pasted mask is inside
_C.MODEL.ROI_MASK_HEAD.POSTPROCESS_MASKS_THRESHOLD = 0.5
_C.MODEL.ROI_MASK_HEAD.PREDICTOR = "MaskRCNNC4Predictor"  # key in registry.ROI_MASK_PREDICTOR
_C.MODEL.ROI_MASK_HEAD.RESOLUTION = 14  # side of the grid that the predictor puts out, cells
_C.MODEL.ROI_MASK_HEAD.SHARE_BOX_FEATURE_EXTRACTOR = True  # use the box head's features
_C.MODEL.ROI_MASK_HEAD.USE_GN = False  # GroupNorm in the head

# Keypoint head
_C.MODEL.ROI_KEYPOINT_HEAD = CN()
# channels of the convolutions
_C.MODEL.ROI_KEYPOINT_HEAD.CONV_LAYERS = (512, 512, 512, 512, 512, 512, 512, 512)
# key in registry.ROI_KEYPOINT_FEATURE_EXTRACTORS
_C.MODEL.ROI_KEYPOINT_HEAD.FEATURE_EXTRACTOR = "KeypointRCNNFeatureExtractor"
_C.MODEL.ROI_KEYPOINT_HEAD.MLP_HEAD_DIM = 1024  # kept for the original's files; without effect
_C.MODEL.ROI_KEYPOINT_HEAD.NUM_CLASSES = 17  # keypoints per object, 17 for COCO's persons
_C.MODEL.ROI_KEYPOINT_HEAD.POOLER_RESOLUTION = 14  # side of the pooled grid, cells
# samples along each side of a cell; 0 adapts to the box
_C.MODEL.ROI_KEYPOINT_HEAD.POOLER_SAMPLING_RATIO = 0
_C.MODEL.ROI_KEYPOINT_HEAD.POOLER_SCALES = (0.0625,)  # feature pixels / image pixels, one per level
# key in registry.ROI_KEYPOINT_PREDICTOR
_C.MODEL.ROI_KEYPOINT_HEAD.PREDICTOR = "KeypointRCNNPredictor"
_C.MODEL.ROI_KEYPOINT_HEAD.RESOLUTION = 14  # side of the grid that the predictor puts out, cells
_C.MODEL.ROI_KEYPOINT_HEAD.SHARE_BOX_FEATURE_EXTRACTOR = True  # use the box head's features

# ResNet
_C.MODEL.RESNETS = CN()
# channels of the backbone's features: of the one map (C4) or of each level (FPN)
_C.MODEL.RESNETS.BACKBONE_OUT_CHANNELS = 1024
_C.MODEL.RESNETS.DEFORMABLE_GROUPS = 1  # offset groups of the deformable convolutions
_C.MODEL.RESNETS.NUM_GROUPS = 1  # groups of the 3x3 convolutions (more than 1: ResNeXt)
# channels that layer1 puts out; doubled from stage to stage
_C.MODEL.RESNETS.RES2_OUT_CHANNELS = 256
# dilation of the stage in the heads of a C4 model; above 1 it keeps the size
_C.MODEL.RESNETS.RES5_DILATION = 1
# which of layer1 ... layer4 have deformable convolutions
_C.MODEL.RESNETS.STAGE_WITH_DCN = (False, False, False, False)
# class of the stem: StemWithFixedBatchNorm or StemWithGN
_C.MODEL.RESNETS.STEM_FUNC = "StemWithFixedBatchNorm"
_C.MODEL.RESNETS.STEM_OUT_CHANNELS = 64  # channels of the stem
# the stride sits in the first 1x1 convolution (MSRA, Caffe2), not in the 3x3 (torchvision)
_C.MODEL.RESNETS.STRIDE_IN_1X1 = True
# class of the blocks: BottleneckWithFixedBatchNorm or BottleneckWithGN
_C.MODEL.RESNETS.TRANS_FUNC = "BottleneckWithFixedBatchNorm"
# channels per group of layer1's 3x3 convolutions; doubled from stage to stage
_C.MODEL.RESNETS.WIDTH_PER_GROUP = 64
# deformable convolutions are those of version 2, with a mask
_C.MODEL.RESNETS.WITH_MODULATED_DCN = False

# RetinaNet
_C.MODEL.RETINANET = CN()
# square roots of the smallest anchors' areas, one per level, pixels of the resized image
_C.MODEL.RETINANET.ANCHOR_SIZES = (32, 64, 128, 256, 512)
# pixels of the resized image between neighbouring anchors, one per level
_C.MODEL.RETINANET.ANCHOR_STRIDES = (8, 16, 32, 64, 128)
_C.MODEL.RETINANET.ASPECT_RATIOS = (0.5, 1.0, 2.0)  # height / width of the anchors
_C.MODEL.RETINANET.BBOX_REG_BETA = 0.11  # where smooth L1 turns linear
_C.MODEL.RETINANET.BBOX_REG_WEIGHT = 4.0  # the box loss is divided by this
# an anchor with less IoU than this is background; one between it and FG_IOU_THRESHOLD is not
# trained on
_C.MODEL.RETINANET.BG_IOU_THRESHOLD = 0.4
_C.MODEL.RETINANET.FG_IOU_THRESHOLD = 0.5  # an anchor with at least this IoU is an object
_C.MODEL.RETINANET.INFERENCE_TH = 0.05  # detections are kept above this score
_C.MODEL.RETINANET.LOSS_ALPHA = 0.25  # weight of objects in the focal loss; background has 1 - this
_C.MODEL.RETINANET.LOSS_GAMMA = 2.0  # exponent of the focal loss
# IoU above which the lesser of two detections of a class is dropped
_C.MODEL.RETINANET.NMS_TH = 0.4
# classes and the background; follows the data set where no file or option sets it
_C.MODEL.RETINANET.NUM_CLASSES = 81
_C.MODEL.RETINANET.NUM_CONVS = 4  # convolutions per tower
_C.MODEL.RETINANET.OCTAVE = 2.0  # ratio of the anchors' sizes between one level and the next
_C.MODEL.RETINANET.PRE_NMS_TOP_N = 1000  # best (anchor, class) pairs per level that enter NMS
_C.MODEL.RETINANET.PRIOR_PROB = 0.01  # probability of an object at every anchor before training
_C.MODEL.RETINANET.SCALES_PER_OCTAVE = 3  # anchor sizes per level
# kept for the original's files; without effect: anchors that leave the image are trained on too
_C.MODEL.RETINANET.STRADDLE_THRESH = 0
_C.MODEL.RETINANET.USE_C5 = True  # level P6 comes from C5 instead of P5

# FBNet
_C.MODEL.FBNET = CN()
_C.MODEL.FBNET.ARCH = "default"  # name of the architecture, see modeling/backbone/fbnet_modeldef.py
# JSON text of an architecture of one's own; ARCH is its name, which must be a new one
_C.MODEL.FBNET.ARCH_DEF = ""
# norm: "bn" (batch norm), "gn" (MODEL.GROUP_NORM.NUM_GROUPS groups) or "af" (frozen batch norm)
_C.MODEL.FBNET.BN_TYPE = "bn"
_C.MODEL.FBNET.DET_HEAD_BLOCKS = []  # which blocks of a stage the box head has, from 0; []: all
# factor of the channels of the box head's last layer; negative: relative to the layer before
_C.MODEL.FBNET.DET_HEAD_LAST_SCALE = 1.0
# stride of the box head's first block, 1 or 2; 0: the architecture's
_C.MODEL.FBNET.DET_HEAD_STRIDE = 0
_C.MODEL.FBNET.DW_CONV_SKIP_BN = True  # no norm after the depthwise convolutions
_C.MODEL.FBNET.DW_CONV_SKIP_RELU = True  # no ReLU after the depthwise convolutions
# which blocks of a stage the keypoint head has, from 0; []: all
_C.MODEL.FBNET.KPTS_HEAD_BLOCKS = []
# factor of the channels of the keypoint head's last layer; 0 leaves it out; negative: relative to
# the layer before
_C.MODEL.FBNET.KPTS_HEAD_LAST_SCALE = 0.0
# stride of the keypoint head's first block, 1 or 2; 0: the architecture's
_C.MODEL.FBNET.KPTS_HEAD_STRIDE = 0
_C.MODEL.FBNET.MASK_HEAD_BLOCKS = []  # which blocks of a stage the mask head has, from 0; []: all
# factor of the channels of the mask head's last layer; 0 leaves it out; negative: relative to the
# layer before
_C.MODEL.FBNET.MASK_HEAD_LAST_SCALE = 0.0
# stride of the mask head's first block, 1 or 2; 0: the architecture's
_C.MODEL.FBNET.MASK_HEAD_STRIDE = 0
_C.MODEL.FBNET.RPN_BN_TYPE = ""  # norm of the RPN head; "": BN_TYPE
# how many of the architecture's last RPN blocks the RPN head has; 0: all
_C.MODEL.FBNET.RPN_HEAD_BLOCKS = 0
_C.MODEL.FBNET.SCALE_FACTOR = 1.0  # factor of all numbers of channels
_C.MODEL.FBNET.WIDTH_DIVISOR = 1  # numbers of channels are multiples of this

# Training
_C.SOLVER = CN()
# parts into which a process divides its images of an iteration, one after the other: memory for the
# activations of one part; learning rate and iterations stay. 1: all at once; more parts than
# images: one image each
_C.SOLVER.ACCUMULATE = 1
_C.SOLVER.BASE_LR = 0.001  # learning rate after the warm-up
_C.SOLVER.BIAS_LR_FACTOR = 2  # biases learn at BASE_LR times this
_C.SOLVER.CHECKPOINT_PERIOD = 2500  # iterations from one checkpoint to the next
# greatest 2-norm of all gradients together, which are scaled down where it is exceeded; 0.0: no
# limit
_C.SOLVER.CLIP_GRADIENT = 0.0
# the weights' exponential moving average is evaluated and saved too: the share of the average that
# stays at each iteration, such as 0.999, below 1; 0.0: none
_C.SOLVER.EMA = 0.0
_C.SOLVER.GAMMA = 0.1  # the learning rate is multiplied by this at each of STEPS
_C.SOLVER.IMS_PER_BATCH = 16  # images per iteration, over all processes
_C.SOLVER.MAX_ITER = 40000  # training ends after this many iterations
_C.SOLVER.MOMENTUM = 0.9  # momentum of SGD
# minutes that a process of several waits for the others in a training step before the run ends with
# an error; while one evaluates or saves, the others wait for 24 hours
_C.SOLVER.STEP_TIMEOUT = 30
_C.SOLVER.STEPS = (30000,)  # iterations at which the learning rate falls
_C.SOLVER.TEST_PERIOD = 0  # iterations from one evaluation during training to the next; 0: none
_C.SOLVER.WARMUP_FACTOR = 1.0 / 3  # first learning rate / BASE_LR
_C.SOLVER.WARMUP_ITERS = 500  # iterations of the warm-up
# "linear": rises to BASE_LR; "constant": stays at WARMUP_FACTOR times BASE_LR until the warm-up
# ends
_C.SOLVER.WARMUP_METHOD = "linear"
_C.SOLVER.WEIGHT_DECAY = 0.0005  # weight decay of all parameters but the biases
_C.SOLVER.WEIGHT_DECAY_BIAS = 0  # weight decay of the biases
# decides the first weights, the order of the data, the augmentation and the sampling
_C.SOLVER.SEED = 0

# Evaluation
_C.TEST = CN()
# lay images channels last in memory in evaluation and prediction only, where it is faster on most
# processors (in training it is slower on some); the last bits differ
_C.TEST.CHANNELS_LAST = False
# best detections that RetinaNet keeps per image (per tile); other models:
# MODEL.ROI_HEADS.DETECTIONS_PER_IMG
_C.TEST.DETECTIONS_PER_IMG = 100
# [task, metric, [mean, std]] rows that the results are checked against
_C.TEST.EXPECTED_RESULTS = []
_C.TEST.EXPECTED_RESULTS_SIGMA_TOL = 4  # allowed distance from the mean of EXPECTED_RESULTS, in std
_C.TEST.IMS_PER_BATCH = 8  # images per forward pass, over all processes

# Test-time augmentation
_C.TEST.BBOX_AUG = CN()
_C.TEST.BBOX_AUG.ENABLED = False  # find boxes in several views of each image and merge them
_C.TEST.BBOX_AUG.H_FLIP = False  # show the image of the usual size mirrored too
_C.TEST.BBOX_AUG.MAX_SIZE = 4000  # greatest long side at the sizes of SCALES, pixels
_C.TEST.BBOX_AUG.SCALES = ()  # further short sides to show the image at, pixels
_C.TEST.BBOX_AUG.SCALE_H_FLIP = False  # show the image mirrored at the sizes of SCALES too

# The run
_C.AMP_VERBOSE = False  # kept for the original's files; without effect
# "float32"; "tf32": GPUs may round the factors of convolutions and matrix products to TF32, which
# is faster; "float16" or "bfloat16": mixed precision (torch.autocast)
_C.DTYPE = "float32"
_C.OUTPUT_DIR = "."  # folder of checkpoints, logs and results
# file with DatasetCatalog and ModelCatalog
_C.PATHS_CATALOG = os.path.join(os.path.dirname(__file__), "paths_catalog.py")
