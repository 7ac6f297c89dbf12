"""The 12 species of Shapes (contour and texture) in the order of their ids, with colours to show."""

shapes_classes = (
    "star_plain", "star_striped", "star_dotted", "heart_plain", "heart_striped", "heart_dotted",
    "moon_plain", "moon_striped", "moon_dotted", "clover_plain", "clover_striped", "clover_dotted",
)  # fmt: skip
shapes_palette = [
    (220, 20, 60), (119, 11, 32), (255, 77, 255), (0, 0, 142), (0, 0, 230), (106, 0, 228),
    (0, 60, 100), (0, 80, 100), (0, 182, 199), (107, 142, 35), (0, 125, 92), (250, 170, 30),
]  # fmt: skip
shapes_segments = ("background", *shapes_classes)
shapes_segment_palette = [(0, 0, 0), *shapes_palette]
