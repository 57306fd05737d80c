import { module, print } from "./load.mjs";

const THREE = await module("three/build/three.module.js");
const round = (numbers) => [...numbers].map((each) => Number(each.toFixed(9)));
print(THREE.REVISION, Object.keys(THREE).length, Object.keys(THREE).sort().join());
const v = new THREE.Vector3(1, 2, 3), w = new THREE.Vector3(-4, 5, 0.5);
print(v.clone().cross(w), v.dot(w), v.angleTo(w), v.distanceTo(w), v.clone().normalize().length(), v.clone().lerp(w, 0.25), v.clone().reflect(new THREE.Vector3(0, 1, 0)));
print(v.clone().applyAxisAngle(new THREE.Vector3(0, 0, 1), 1), v.clone().project(new THREE.PerspectiveCamera(50, 2, 0.1, 99)), [...v]);
const m = new THREE.Matrix4().compose(v, new THREE.Quaternion().setFromEuler(new THREE.Euler(0.1, 0.2, 0.3, "ZYX")), new THREE.Vector3(1, 2, 3));
print(round(m.elements), m.determinant(), round(m.clone().invert().elements), round(m.clone().transpose().multiply(m).elements));
const p = new THREE.Vector3(), q = new THREE.Quaternion(), s = new THREE.Vector3();
m.decompose(p, q, s);
print(p, q.toArray(), s, new THREE.Euler().setFromQuaternion(q).toArray(), q.clone().slerp(new THREE.Quaternion(), 0.3).toArray());
print(new THREE.Matrix3().getNormalMatrix(m).elements, new THREE.Matrix4().lookAt(v, w, new THREE.Vector3(0, 1, 0)).elements);
for (const geometry of [new THREE.BoxGeometry(1, 2, 3, 2), new THREE.SphereGeometry(1, 8, 6), new THREE.TorusKnotGeometry(1, 0.3, 16, 4), new THREE.IcosahedronGeometry(2, 1),
  new THREE.CylinderGeometry(1, 2, 3, 5), new THREE.LatheGeometry([new THREE.Vector2(0, 0), new THREE.Vector2(1, 2)], 4), new THREE.ExtrudeGeometry(new THREE.Shape([new THREE.Vector2(0, 0), new THREE.Vector2(2, 0), new THREE.Vector2(1, 2)]), { steps: 2 })]) {
  geometry.computeBoundingSphere(); geometry.computeVertexNormals();
  const { position, normal } = geometry.attributes;
  print(geometry.type, position.count, geometry.index?.count, geometry.boundingSphere.radius, round(position.array).reduce((a, b) => a + b * b, 0), round(normal.array).slice(0, 9));
}
const ray = new THREE.Raycaster(new THREE.Vector3(0.1, 0.2, 5), new THREE.Vector3(0, 0, -1));
const scene = new THREE.Scene(), mesh = new THREE.Mesh(new THREE.BoxGeometry(1, 1, 1), new THREE.MeshBasicMaterial({ color: 0x336699 }));
scene.add(new THREE.Group().add(mesh)); mesh.position.set(0, 0, 1); scene.updateMatrixWorld(true);
print(ray.intersectObject(scene).map((hit) => [hit.distance, hit.point, hit.faceIndex, hit.uv]), new THREE.Box3().setFromObject(scene));
const json = scene.toJSON(); print(json.metadata, json.materials[0].color, json.geometries[0].type);
print(new THREE.Color("hsl(120, 50%, 40%)").getHexString(), new THREE.Color(0xff8800).getHSL({}), new THREE.Color("tomato").convertSRGBToLinear().toArray());
print(new THREE.CatmullRomCurve3([v, w, p]).getPoints(4), new THREE.CubicBezierCurve(new THREE.Vector2(), new THREE.Vector2(1, 2), new THREE.Vector2(3, 1), new THREE.Vector2(4, 0)).getLength());
print(THREE.MathUtils.smoothstep(3, 0, 10), THREE.MathUtils.seededRandom(4), THREE.ShapeUtils.triangulateShape([new THREE.Vector2(0, 0), new THREE.Vector2(1, 0), new THREE.Vector2(1, 1), new THREE.Vector2(0, 1)], []));
const clip = new THREE.AnimationClip("c", 2, [new THREE.VectorKeyframeTrack(".position", [0, 1, 2], [0, 0, 0, 1, 2, 3, 4, 4, 4])]);
const mixer = new THREE.AnimationMixer(mesh); mixer.clipAction(clip).play(); mixer.update(1.5); print(mesh.position, clip.toJSON?.length ?? THREE.AnimationClip.toJSON(clip).tracks.length);
print(new THREE.Plane().setFromCoplanarPoints(v, w, new THREE.Vector3(3, 1, 1)), new THREE.Frustum().setFromProjectionMatrix(m).planes.length, new THREE.Spherical().setFromVector3(v));

const { OBB } = await module("three/examples/jsm/math/OBB.js"), { ConvexHull } = await module("three/examples/jsm/math/ConvexHull.js");
const { SimplexNoise } = await module("three/examples/jsm/math/SimplexNoise.js"), { Octree } = await module("three/examples/jsm/math/Octree.js");
const Curves = await module("three/examples/jsm/curves/CurveExtras.js"), { NURBSCurve } = await module("three/examples/jsm/curves/NURBSCurve.js");
const Utils = await module("three/examples/jsm/utils/BufferGeometryUtils.js"), { RoundedBoxGeometry } = await module("three/examples/jsm/geometries/RoundedBoxGeometry.js");
print(new OBB(v, new THREE.Vector3(1, 1, 1)).clampPoint(w, new THREE.Vector3()), new ConvexHull().setFromPoints([v, w, p, new THREE.Vector3(9, 0, 1), new THREE.Vector3(0, 7, 0)]).faces.length);
print(new SimplexNoise({ random: () => 0.3 }).noise3d(1.5, 2.5, 3.5), new Octree().fromGraphNode(scene).triangles.length, new Curves.KnotCurve().getPoint(0.3));
print(new NURBSCurve(2, [0, 0, 0, 1, 1, 1], [v, w, p].map((each) => new THREE.Vector4(each.x, each.y, each.z, 1))).getPoints(3));
print(Utils.mergeVertices(new THREE.BoxGeometry().toNonIndexed()).attributes.position.count, round(new RoundedBoxGeometry(1, 1, 1, 2, 0.1).attributes.position.array).slice(0, 12));
